package raftmq;

import java.util.List;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages whose handler fails. */
final class Retries {
    private Retries() {}

    static void whatFailsComesAgainAndIsBuried(Cluster cluster) throws Exception {
        String topic = cluster.topic("retry");
        String group = cluster.name("group");
        Seen seen = new Seen();
        DefaultMQPushConsumer c = cluster.member(group);
        c.setMaxReconsumeTimes(2);
        c.subscribe(topic, "*");
        c.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(seen::add);
            context.setDelayLevelWhenNextConsume(1);
            String body = Seen.text(messages.get(0));
            boolean fails = body.equals("bad") || body.equals("once") && messages.get(0).getReconsumeTimes() == 0;
            return fails ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        DefaultMQProducer p = cluster.producer();
        for (String body : List.of("good", "once", "bad")) {
            var m = Sends.message(topic, body);
            m.setKeys("key-" + body);
            m.putUserProperty("p", body);
            Sends.ok(p.send(m));
        }
        Seen buried = new Seen();
        Check.eventually(Check.SECONDS, () -> seen.of("bad").size() == 3 ? null : "\"bad\" came " + seen.of("bad").size() + " times of three");
        var dead = cluster.member(cluster.name("dead"), "%DLQ%" + group, "*", buried);
        buried.awaitOnly(Set.of("bad"), Check.SECONDS);
        Check.same(2, seen.of("once").size(), "how often came \"once\"");
        Check.same(1, seen.of("good").size(), "how often came \"good\"");
        for (int i = 0; i < 3; i++) {
            MessageExt m = seen.of("bad").get(i);
            Check.same(i, m.getReconsumeTimes(), "how often it was put back");
            Check.same(topic, m.getTopic(), "topic, as the listener sees it");
            Check.same("key-bad", m.getKeys(), "keys");
            Check.same("bad", m.getUserProperty("p"), "property");
            Check.same(seen.of("bad").get(0).getMsgId(), m.getMsgId(), "id");
        }
        dead.shutdown();
        c.shutdown();
        p.shutdown();
    }

    static void whoSaysNothingHasItAgain(Cluster cluster) throws Exception {
        String topic = cluster.topic("slow");
        AtomicInteger calls = new AtomicInteger();
        DefaultMQPushConsumer c = cluster.member(cluster.name("group"));
        c.subscribe(topic, "*");
        c.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            context.setDelayLevelWhenNextConsume(1);
            if (calls.incrementAndGet() == 1) {
                return null; // as a listener that throws
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        DefaultMQProducer p = cluster.producer();
        Sends.ok(p.send(Sends.message(topic, "x")));
        Check.eventually(Check.SECONDS, () -> calls.get() == 2 ? null : "it came " + calls.get() + " times");
        c.shutdown();
        p.shutdown();
    }
}
