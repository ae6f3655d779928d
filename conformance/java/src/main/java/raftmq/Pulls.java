package raftmq;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageQueue;

/** Consumers that ask by themselves. */
final class Pulls {
    private Pulls() {}

    private static Set<String> poll(DefaultLitePullConsumer c, Set<String> want) throws Exception {
        Set<String> got = new TreeSet<>();
        Check.eventually(Check.SECONDS, () -> {
            for (var m : c.poll(200)) {
                Check.that(got.add(Seen.text(m)), Seen.text(m) + " came twice");
            }
            return got.size() >= want.size() ? null : got.size() + " of " + want.size();
        });
        return got;
    }

    static void aLiteConsumerPolls(Cluster cluster) throws Exception {
        String topic = cluster.topic("poll");
        String group = cluster.name("group");
        DefaultMQProducer p = cluster.producer();
        Set<String> sent = Groups.send(p, topic, "m-", 60);
        DefaultLitePullConsumer c = cluster.of(new DefaultLitePullConsumer(group));
        c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        c.subscribe(topic, "*");
        c.start();
        Check.same(sent, poll(c, sent), "messages");
        c.commitSync();
        c.shutdown();
        Set<String> later = Groups.send(p, topic, "later-", 12);
        DefaultLitePullConsumer d = cluster.of(new DefaultLitePullConsumer(group));
        d.subscribe(topic, "*");
        d.start();
        Check.same(later, poll(d, later), "messages behind what was committed");
        d.shutdown();
        p.shutdown();
    }

    static void aLiteConsumerSeeks(Cluster cluster) throws Exception {
        String topic = cluster.topic("seek");
        DefaultMQProducer p = cluster.producer();
        Set<String> sent = Groups.send(p, topic, "m-", 30);
        DefaultLitePullConsumer c = cluster.of(new DefaultLitePullConsumer(cluster.name("group")));
        c.setAutoCommit(false);
        c.start();
        Collection<MessageQueue> queues = c.fetchMessageQueues(topic);
        Check.same(6, queues.size(), "queues");
        c.assign(queues);
        for (MessageQueue q : queues) {
            c.seekToBegin(q);
        }
        Check.same(sent, poll(c, sent), "messages from the begin");
        for (MessageQueue q : queues) {
            c.seek(q, 2);
        }
        Set<String> fewer = new TreeSet<>();
        Check.eventually(Check.SECONDS, () -> {
            c.poll(200).forEach(m -> fewer.add(Seen.text(m)));
            return fewer.size() >= 18 ? null : fewer.size() + " of 18";
        });
        Check.same(18, fewer.size(), "messages behind the second of each queue");
        c.shutdown();
        p.shutdown();
    }

    @SuppressWarnings("deprecation")
    static void aPullNamesItsOffset(Cluster cluster) throws Exception {
        String topic = cluster.topic("pull");
        DefaultMQProducer p = cluster.producer();
        Set<String> sent = Groups.send(p, topic, "m-", 30);
        DefaultMQPullConsumer c = cluster.of(new DefaultMQPullConsumer(cluster.name("group")));
        c.start();
        List<String> got = new ArrayList<>();
        for (MessageQueue q : c.fetchSubscribeMessageQueues(topic)) {
            Check.same(0L, c.minOffset(q), "first offset");
            long max = c.maxOffset(q);
            Check.same(5L, max, "next offset");
            var r = c.pull(q, "*", 0, 32);
            Check.same(PullStatus.FOUND, r.getPullStatus(), "status");
            r.getMsgFoundList().forEach(m -> got.add(Seen.text(m)));
            Check.same(max, r.getNextBeginOffset(), "where to go on");
            Check.same(PullStatus.NO_NEW_MSG, c.pull(q, "*", max, 32).getPullStatus(), "at the end");
            var past = c.pull(q, "*", max + 10, 32);
            Check.same(PullStatus.OFFSET_ILLEGAL, past.getPullStatus(), "past the end");
            Check.same(max, past.getNextBeginOffset(), "where to go on from past the end");
            c.updateConsumeOffset(q, 3);
            c.getDefaultMQPullConsumerImpl().getOffsetStore().persist(q);
        }
        Check.same(sent, new TreeSet<>(got), "messages");
        Check.same(30, got.size(), "messages, counted");
        for (MessageQueue q : c.fetchSubscribeMessageQueues(topic)) {
            Check.eventually(Check.SECONDS, () -> {
                long at = c.fetchConsumeOffset(q, true);
                return at == 3 ? null : "committed " + at;
            });
        }
        c.shutdown();
        p.shutdown();
    }
}
