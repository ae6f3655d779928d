package raftmq;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.selector.SelectMessageQueueByHash;

/** Messages of one key, in their order, whoever consumes. */
final class Ordered {
    private Ordered() {}

    static void keysKeepTheirOrder(Cluster cluster) throws Exception {
        String topic = cluster.topic("ordered");
        String group = cluster.name("group");
        Map<String, List<Integer>> got = new ConcurrentHashMap<>();
        Map<Integer, AtomicInteger> inside = new ConcurrentHashMap<>();
        AtomicInteger failures = new AtomicInteger();
        AtomicInteger together = new AtomicInteger();
        MessageListenerOrderly listener = (messages, context) -> {
            int queue = context.getMessageQueue().hashCode();
            if (inside.computeIfAbsent(queue, q -> new AtomicInteger()).incrementAndGet() > 1) {
                together.incrementAndGet();
            }
            try {
                for (var m : messages) {
                    String[] part = Seen.text(m).split("-");
                    if (part[1].equals("7") && m.getReconsumeTimes() == 0) {
                        failures.incrementAndGet();
                        return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
                    }
                    got.computeIfAbsent(part[0], k -> new ArrayList<>()).add(Integer.valueOf(part[1]));
                }
                return ConsumeOrderlyStatus.SUCCESS;
            } finally {
                inside.get(queue).decrementAndGet();
            }
        };
        List<DefaultMQPushConsumer> members = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            DefaultMQPushConsumer c = cluster.member(group);
            c.subscribe(topic, "*");
            c.registerMessageListener(listener);
            c.start();
            members.add(c);
        }
        DefaultMQProducer p = cluster.producer();
        Map<String, List<Integer>> want = new HashMap<>();
        for (int i = 0; i < 20; i++) {
            for (int k = 0; k < 8; k++) {
                Sends.ok(p.send(Sends.message(topic, k + "-" + i), new SelectMessageQueueByHash(), String.valueOf(k)));
                want.computeIfAbsent(String.valueOf(k), x -> new ArrayList<>()).add(i);
            }
        }
        Check.eventually(Check.SECONDS, () -> {
            for (var k : want.entrySet()) {
                List<Integer> g = List.copyOf(got.getOrDefault(k.getKey(), List.of()));
                if (!g.equals(k.getValue())) {
                    return "key " + k.getKey() + ": " + g;
                }
            }
            return null;
        });
        Check.same(8, failures.get(), "messages that failed once, in place");
        Check.same(0, together.get(), "how often two had one queue");
        for (var c : members) {
            c.shutdown();
        }
        p.shutdown();
    }
}
