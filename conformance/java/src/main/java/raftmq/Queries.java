package raftmq;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** Messages that are looked for. */
final class Queries {
    private Queries() {}

    static void findMessages(Cluster cluster) throws Exception {
        String topic = cluster.topic("queries");
        DefaultMQProducer p = cluster.producer();
        List<SendResult> sent = new ArrayList<>();
        for (int i = 0; i < 12; i++) {
            var m = Sends.message(topic, "m" + i);
            m.setKeys("order-" + i % 3);
            sent.add(p.send(m));
        }
        DefaultMQAdminExt admin = cluster.of(new DefaultMQAdminExt(10_000));
        admin.start();
        List<Long> stored = new ArrayList<>();
        for (int i = 0; i < 12; i++) {
            SendResult r = sent.get(i);
            MessageExt m = admin.viewMessage(topic, r.getOffsetMsgId());
            stored.add(m.getStoreTimestamp());
            Check.same("m" + i, Seen.text(m), "by offset id");
            Check.same("m" + i, Seen.text(admin.viewMessage(topic, r.getMsgId())), "by unique key");
        }
        long begin = Collections.min(stored); // by the cluster's time, which may be behind this process's
        Set<String> found = new TreeSet<>();
        for (MessageExt m : admin.queryMessage(topic, "order-1", 32, begin, Long.MAX_VALUE).getMessageList()) {
            found.add(Seen.text(m));
        }
        Check.same(new TreeSet<>(Set.of("m1", "m4", "m7", "m10")), found, "by key");
        Check.fails("no message", () -> admin.queryMessage(topic, "order-4", 32, begin, Long.MAX_VALUE));
        MessageQueue q = sent.get(0).getMessageQueue();
        Check.same(0L, admin.minOffset(q), "first offset");
        Check.same(2L, admin.maxOffset(q), "next offset");
        Check.same(0L, admin.searchOffset(q, begin - 1000), "offset of a time before");
        Check.same(2L, admin.searchOffset(q, System.currentTimeMillis() + 1000), "offset of a time behind");
        Check.same(stored.get(0), admin.earliestMsgStoreTime(q), "the first message's time");
        var stats = admin.examineTopicStats(topic).getOffsetTable();
        Check.same(6, stats.size(), "queues in the topic's state");
        Check.same(12L, stats.values().stream().mapToLong(o -> o.getMaxOffset() - o.getMinOffset()).sum(), "messages in the topic's state");
        admin.shutdown();
        p.shutdown();
    }

    static void tracesAreKept(Cluster cluster) throws Exception {
        String topic = cluster.topic("traced");
        DefaultMQProducer p = cluster.of(new DefaultMQProducer(cluster.name("producers"), null, true, null));
        p.start();
        SendResult r = p.send(Sends.message(topic, "traced"));
        DefaultMQAdminExt admin = cluster.of(new DefaultMQAdminExt(10_000));
        admin.start();
        Check.eventually(Check.SECONDS, () -> {
            List<MessageExt> traces = admin.queryMessage("RMQ_SYS_TRACE_TOPIC", r.getMsgId(), 32, 0, Long.MAX_VALUE).getMessageList();
            return traces.size() == 1 && Seen.text(traces.get(0)).contains(topic) ? null : traces.size() + " traces";
        });
        admin.shutdown();
        p.shutdown();
    }
}
