package raftmq;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.selector.SelectMessageQueueByHash;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** What holds while nodes are killed: by whoever runs this, until there is a line to read. */
final class Killed {
    private final Cluster cluster;
    private final Set<String> acknowledged = ConcurrentHashMap.newKeySet();
    private final Set<String> rolledBack = ConcurrentHashMap.newKeySet();
    private final AtomicInteger failed = new AtomicInteger();
    private final AtomicBoolean stop = new AtomicBoolean();
    private final List<Thread> senders = new ArrayList<>();

    private Killed(Cluster cluster) {
        this.cluster = cluster;
    }

    /** One call of a producer: the bodies that it acknowledged. */
    private interface Send {
        List<String> next(int n) throws Exception;
    }

    private void sender(String name, Send send) {
        Thread t = new Thread(() -> {
            for (int n = 0; !stop.get(); n++) {
                try {
                    acknowledged.addAll(send.next(n));
                    Thread.sleep(5);
                } catch (Exception e) {
                    failed.incrementAndGet(); // stored or not
                }
            }
        }, name);
        t.start();
        senders.add(t);
    }

    private static boolean ok(SendResult r) {
        return r.getSendStatus() == SendStatus.SEND_OK;
    }

    static void nothingAcknowledgedIsLost(Cluster cluster) throws Exception {
        new Killed(cluster).run();
    }

    private void run() throws Exception {
        String topic = cluster.topic("killed");
        String ordered = cluster.topic("killed-ordered");
        String group = cluster.name("group");
        Seen seen = new Seen();
        List<DefaultMQPushConsumer> members = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            members.add(cluster.member(group, topic, "*", seen));
        }
        Map<String, List<Integer>> firsts = new ConcurrentHashMap<>();
        members.add(orderedMember(ordered, firsts));

        DefaultMQProducer p = cluster.producer();
        sender("sync", n -> ok(p.send(Sends.message(topic, "sync-" + n))) ? List.of("sync-" + n) : List.of());
        sender("batch", n -> {
            List<String> bodies = new ArrayList<>();
            List<Message> batch = new ArrayList<>();
            for (int i = 0; i < 10; i++) {
                bodies.add("batch-" + n + "-" + i);
                batch.add(Sends.message(topic, "batch-" + n + "-" + i));
            }
            return ok(p.send(batch)) ? bodies : List.of();
        });
        sender("async", n -> {
            CountDownLatch answered = new CountDownLatch(1);
            p.send(Sends.message(topic, "async-" + n), new SendCallback() {
                @Override
                public void onSuccess(SendResult r) {
                    if (ok(r)) {
                        acknowledged.add("async-" + n);
                    }
                    answered.countDown();
                }

                @Override
                public void onException(Throwable e) {
                    failed.incrementAndGet();
                    answered.countDown();
                }
            });
            answered.await();
            return List.of();
        });
        sender("delayed", n -> {
            Message m = Sends.message(topic, "delayed-" + n);
            m.setDelayTimeLevel(1 + n % 2);
            return ok(p.send(m)) ? List.of("delayed-" + n) : List.of();
        });
        TransactionMQProducer tx = transactions(topic);
        Set<String> inOrder = ConcurrentHashMap.newKeySet();
        sender("ordered", n -> {
            String key = String.valueOf(n % 4);
            String body = key + "-" + n;
            if (ok(p.send(Sends.message(ordered, body), new SelectMessageQueueByHash(), key))) {
                inOrder.add(body);
            }
            return List.of();
        });

        readLine();
        stop.set(true);
        for (Thread t : senders) {
            t.join();
        }
        seen.await(acknowledged, 240);
        Set<String> wrong = new TreeSet<>(seen.bodies());
        wrong.retainAll(rolledBack);
        Check.same(Set.of(), wrong, "messages of transactions that were rolled back");
        Check.eventually(240, () -> {
            for (String body : inOrder) {
                String[] part = body.split("-");
                if (!List.copyOf(firsts.getOrDefault(part[0], List.of())).contains(Integer.valueOf(part[1]))) {
                    return body + " did not come";
                }
            }
            return null;
        });
        for (var k : firsts.entrySet()) {
            List<Integer> got = List.copyOf(k.getValue());
            Check.same(got.stream().sorted().toList(), got, "order of key " + k.getKey());
        }
        int twice = 0;
        for (String b : seen.bodies()) {
            twice += seen.of(b).size() - 1;
        }
        System.out.printf("note %d acknowledged, %d in order, %d rolled back, %d calls failed, %d came again%n", acknowledged.size(), inOrder.size(), rolledBack.size(), failed.get(), twice);
        Check.that(acknowledged.size() > 100 && inOrder.size() > 20 && rolledBack.size() > 2, "too little was sent to say anything");
        for (var m : members) {
            m.shutdown();
        }
        p.shutdown();
        tx.shutdown();
    }

    /** The first delivery of each number, by key. A message may come again, but not before one that was sent before it. */
    private DefaultMQPushConsumer orderedMember(String topic, Map<String, List<Integer>> firsts) throws Exception {
        DefaultMQPushConsumer c = cluster.member(cluster.name("ordered"));
        c.subscribe(topic, "*");
        c.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            for (var m : messages) {
                String[] part = Seen.text(m).split("-");
                List<Integer> got = firsts.computeIfAbsent(part[0], k -> new CopyOnWriteArrayList<>());
                if (!got.contains(Integer.valueOf(part[1]))) {
                    got.add(Integer.valueOf(part[1]));
                }
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });
        c.start();
        return c;
    }

    private TransactionMQProducer transactions(String topic) throws Exception {
        TransactionMQProducer tx = cluster.of(new TransactionMQProducer(cluster.name("transactions")));
        tx.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message m, Object arg) {
                return (LocalTransactionState) arg;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt m) {
                // Whose END_TRANSACTION was lost.
                return Integer.parseInt(Seen.text(m).substring("tx-".length())) % 3 == 0 ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.COMMIT_MESSAGE;
            }
        });
        tx.start();
        sender("transactions", n -> {
            boolean back = n % 3 == 0;
            String body = "tx-" + n;
            var r = tx.sendMessageInTransaction(Sends.message(topic, body), back ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.COMMIT_MESSAGE);
            if (back) {
                rolledBack.add(body);
            }
            return ok(r) && !back ? List.of(body) : List.of();
        });
        return tx;
    }

    private static void readLine() throws IOException {
        for (int c = System.in.read(); c >= 0 && c != '\n'; c = System.in.read()) {
            // until there is one, or nobody is there any more
        }
    }
}
