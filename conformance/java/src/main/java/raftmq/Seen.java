package raftmq;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageExt;

/** What consumers were given, by body. */
final class Seen {
    private final Map<String, List<MessageExt>> byBody = new HashMap<>();
    private final List<MessageExt> inOrder = new ArrayList<>();

    void from(DefaultMQPushConsumer c) {
        c.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(this::add);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
    }

    synchronized void add(MessageExt m) {
        byBody.computeIfAbsent(text(m), b -> new ArrayList<>()).add(m);
        inOrder.add(m);
        notifyAll();
    }

    static String text(MessageExt m) {
        return new String(m.getBody(), StandardCharsets.UTF_8);
    }

    synchronized Set<String> bodies() {
        return new TreeSet<>(byBody.keySet());
    }

    synchronized List<MessageExt> of(String body) {
        return new ArrayList<>(byBody.getOrDefault(body, List.of()));
    }

    synchronized List<MessageExt> all() {
        return new ArrayList<>(inOrder);
    }

    /** Waits until all bodies are there. */
    void await(Set<String> bodies, int seconds) throws InterruptedException {
        Check.eventually(seconds, () -> {
            Set<String> missing = new TreeSet<>(bodies);
            missing.removeAll(bodies());
            return missing.isEmpty() ? null : missing.size() + " of " + bodies.size() + " messages did not come, " + missing.iterator().next() + " for one";
        });
    }

    /** Waits until all bodies are there, and then says if one came twice, or one that should not. */
    void awaitOnly(Set<String> bodies, int seconds) throws InterruptedException {
        await(bodies, seconds);
        Check.same(bodies, bodies(), "messages that came");
        for (String b : bodies) {
            Check.same(1, of(b).size(), "how often came " + b);
        }
    }
}
