package raftmq;

import java.lang.reflect.Method;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;

/** Messages that come later. */
final class Delays {
    private Delays() {}

    static void areNotEarly(Cluster cluster) throws Exception {
        String topic = cluster.topic("delays");
        Seen seen = new Seen();
        var c = cluster.member(cluster.name("group"), topic, "*", seen);
        DefaultMQProducer p = cluster.producer();
        Map<String, Long> due = new HashMap<>();
        for (int level = 1; level <= 2; level++) {
            Message m = Sends.message(topic, "level-" + level);
            m.setDelayTimeLevel(level);
            due.put("level-" + level, System.currentTimeMillis() + (level == 1 ? 1000 : 5000));
            Sends.ok(p.send(m));
        }
        // What the setters of version 5 write.
        Message after = Sends.message(topic, "after");
        MessageAccessor.putProperty(after, "TIMER_DELAY_MS", "2500");
        due.put("after", System.currentTimeMillis() + 2500);
        Sends.ok(p.send(after));
        Message at = Sends.message(topic, "at");
        long when = System.currentTimeMillis() + 3217;
        MessageAccessor.putProperty(at, "TIMER_DELIVER_MS", String.valueOf(when));
        due.put("at", when);
        Sends.ok(p.send(at));
        seen.awaitOnly(due.keySet(), Check.SECONDS);
        for (var d : due.entrySet()) {
            long stored = seen.of(d.getKey()).get(0).getStoreTimestamp();
            // A delay is counted from the cluster's time, which may be behind this process's.
            long early = d.getValue() - stored - (d.getKey().equals("at") ? 0 : Check.LATE_MS);
            Check.that(early <= 0, d.getKey() + " came " + early + " ms early");
        }
        c.shutdown();
        p.shutdown();
    }

    /** recallMessage is there since 5.3.2. */
    static void canBeTakenBack(Cluster cluster) throws Exception {
        Method recall;
        try {
            recall = DefaultMQProducer.class.getMethod("recallMessage", String.class, String.class);
        } catch (NoSuchMethodException e) {
            return;
        }
        String topic = cluster.topic("recall");
        Seen seen = new Seen();
        var c = cluster.member(cluster.name("group"), topic, "*", seen);
        DefaultMQProducer p = cluster.producer();
        Message back = Sends.message(topic, "taken back");
        MessageAccessor.putProperty(back, "TIMER_DELAY_MS", "4000");
        Object receipt = p.send(back);
        Object handle = receipt.getClass().getMethod("getRecallHandle").invoke(receipt);
        Message stays = Sends.message(topic, "stays");
        MessageAccessor.putProperty(stays, "TIMER_DELAY_MS", "6000");
        Sends.ok(p.send(stays));
        Check.that(!String.valueOf(recall.invoke(p, topic, handle)).isEmpty(), "no id of what was taken back");
        seen.awaitOnly(Set.of("stays"), Check.SECONDS);
        c.shutdown();
        p.shutdown();
    }
}
