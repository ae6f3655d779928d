package raftmq;

import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.producer.DefaultMQProducer;

/** Subscriptions by tag and by SQL92. */
final class Filters {
    private Filters() {}

    static void byTag(Cluster cluster) throws Exception {
        String topic = cluster.topic("tags");
        DefaultMQProducer p = cluster.producer();
        Set<String> want = new TreeSet<>();
        for (int i = 0; i < 60; i++) {
            String tag = new String[] {"a", "b", "ü"}[i % 3];
            var m = Sends.message(topic, tag + i);
            m.setTags(tag);
            Sends.ok(p.send(m));
            if (i % 3 != 1) {
                want.add(tag + i);
            }
        }
        Seen seen = new Seen();
        var c = cluster.member(cluster.name("group"), topic, "a || ü", seen);
        seen.awaitOnly(want, Check.SECONDS);
        c.shutdown();
        p.shutdown();
    }

    static void byProperties(Cluster cluster) throws Exception {
        String topic = cluster.topic("sql");
        DefaultMQProducer p = cluster.producer();
        Set<String> want = new TreeSet<>();
        for (int i = 0; i < 60; i++) {
            var m = Sends.message(topic, "m" + i);
            m.setTags(i % 2 == 0 ? "even" : "odd");
            m.putUserProperty("amount", String.valueOf(i));
            if (i % 3 == 0) {
                m.putUserProperty("region", "eu-" + i % 6);
            }
            Sends.ok(p.send(m));
            if (i > 20 && i % 3 == 0 && i % 2 == 1) {
                want.add("m" + i);
            }
        }
        Seen seen = new Seen();
        DefaultMQPushConsumer c = cluster.member(cluster.name("group"));
        c.subscribe(topic, MessageSelector.bySql("amount > 20 AND region IS NOT NULL AND region IN ('eu-3', 'eu-9') AND TAGS = 'odd'"));
        seen.from(c);
        c.start();
        seen.awaitOnly(want, Check.SECONDS);
        c.shutdown();
        DefaultMQPushConsumer bad = cluster.member(cluster.name("group"));
        bad.subscribe(topic, MessageSelector.bySql("amount >"));
        seen.from(bad);
        Check.fails("CODE: 23", () -> {
            bad.start();
            return "started";
        });
        p.shutdown();
    }
}
