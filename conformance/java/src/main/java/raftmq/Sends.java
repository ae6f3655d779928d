package raftmq;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.selector.SelectMessageQueueByHash;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageClientExt;
import org.apache.rocketmq.common.message.MessageExt;

/** Sends of every kind. */
final class Sends {
    private Sends() {}

    static Message message(String topic, String body) {
        return new Message(topic, body.getBytes(StandardCharsets.UTF_8));
    }

    static void ok(SendResult r) {
        Check.same(SendStatus.SEND_OK, r.getSendStatus(), "status");
    }

    static void ofEveryKind(Cluster cluster) throws Exception {
        String topic = cluster.topic("kinds");
        DefaultMQProducer p = cluster.producer();
        Set<String> sent = new TreeSet<>();

        Message one = message(topic, "sync");
        one.setTags("täg");
        one.setKeys(List.of("k1", "k2"));
        one.putUserProperty("colour", "grün");
        one.setFlag(-7);
        SendResult r = p.send(one);
        ok(r);
        sent.add("sync");

        ok(p.send(message(topic, "hash"), new SelectMessageQueueByHash(), "order-17"));
        sent.add("hash");

        AtomicReference<Throwable> failed = new AtomicReference<>();
        CountDownLatch answered = new CountDownLatch(10);
        for (int i = 0; i < 10; i++) {
            sent.add("async-" + i);
            p.send(message(topic, "async-" + i), new SendCallback() {
                @Override
                public void onSuccess(SendResult r) {
                    answered.countDown();
                }

                @Override
                public void onException(Throwable e) {
                    failed.set(e);
                    answered.countDown();
                }
            });
        }
        Check.that(answered.await(20, TimeUnit.SECONDS), "asynchronous sends were not answered");
        Check.same(null, failed.get(), "an asynchronous send");

        p.sendOneway(message(topic, "oneway"));
        sent.add("oneway");

        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < 100; i++) {
            batch.add(message(topic, "batch-" + i));
            sent.add("batch-" + i);
        }
        ok(p.send(batch));

        String large = "large ".repeat(50_000);
        ok(p.send(message(topic, large)));
        sent.add(large);

        Seen seen = new Seen();
        var c = cluster.member(cluster.name("readers"), topic, "*", seen);
        seen.awaitOnly(sent, Check.SECONDS);
        MessageExt m = seen.of("sync").get(0);
        Check.same("täg", m.getTags(), "tag");
        Check.same("k1 k2", m.getKeys(), "keys");
        Check.same("grün", m.getUserProperty("colour"), "property");
        Check.same(-7, m.getFlag(), "flag");
        Check.same(r.getMsgId(), m.getMsgId(), "id of the message");
        Check.same(r.getQueueOffset(), m.getQueueOffset(), "offset in the queue");
        Check.same(r.getMessageQueue().getQueueId(), m.getQueueId(), "queue");
        Check.same(r.getMessageQueue().getBrokerName(), m.getBrokerName(), "slot");
        Check.same(r.getOffsetMsgId(), ((MessageClientExt) m).getOffsetMsgId(), "offset id");
        c.shutdown();
        p.shutdown();
    }

    static void theFirstMakesItsTopic(Cluster cluster) throws Exception {
        String topic = cluster.name("made");
        DefaultMQProducer p = cluster.producer();
        ok(p.send(message(topic, "first")));
        Seen seen = new Seen();
        var c = cluster.member(cluster.name("readers"), topic, "*", seen);
        seen.awaitOnly(Set.of("first"), Check.SECONDS);
        c.shutdown();
        p.shutdown();
    }

    static void byTheVIPChannel(Cluster cluster) throws Exception {
        String topic = cluster.topic("vip");
        DefaultMQProducer p = cluster.of(new DefaultMQProducer(cluster.name("producers")));
        p.setVipChannelEnabled(true);
        p.start();
        ok(p.send(message(topic, "vip")));
        Seen seen = new Seen();
        var c = cluster.member(cluster.name("readers"));
        c.setVipChannelEnabled(true);
        c.subscribe(topic, "*");
        seen.from(c);
        c.start();
        seen.awaitOnly(Set.of("vip"), Check.SECONDS);
        c.shutdown();
        p.shutdown();
    }

    static void whatCannotBeStoredIsRefused(Cluster cluster) throws Exception {
        String topic = cluster.topic("refused");
        DefaultMQProducer p = cluster.producer();
        p.setMaxMessageSize(16 << 20);
        p.setCompressMsgBodyOverHowmuch(64 << 20);
        Check.fails("CODE: 13", () -> p.send(new Message(topic, new byte[(4 << 20) + 1])));
        Check.fails("illegal", () -> p.send(message("a b", "x")));
        ok(p.send(new Message(topic, new byte[4 << 20])));
        p.shutdown();
    }
}
