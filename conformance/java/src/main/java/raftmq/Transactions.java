package raftmq;

import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages that are delivered if a local transaction says so. */
final class Transactions {
    private Transactions() {}

    static void areDecidedOrAskedAbout(Cluster cluster) throws Exception {
        String topic = cluster.topic("transactions");
        Set<String> asked = ConcurrentHashMap.newKeySet();
        TransactionMQProducer p = cluster.of(new TransactionMQProducer(cluster.name("producers")));
        p.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message m, Object arg) {
                return (LocalTransactionState) arg;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt m) {
                asked.add(Seen.text(m));
                return Seen.text(m).equals("unknown, then rolled back") ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.COMMIT_MESSAGE;
            }
        });
        p.start();
        Seen seen = new Seen();
        var c = cluster.member(cluster.name("group"), topic, "*", seen);
        for (var m : List.of("committed", "rolled back", "unknown, then committed", "unknown, then rolled back")) {
            var state = m.equals("committed") ? LocalTransactionState.COMMIT_MESSAGE : m.equals("rolled back") ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.UNKNOW;
            Message message = Sends.message(topic, m);
            message.putUserProperty("CHECK_IMMUNITY_TIME_IN_SECONDS", "6");
            Sends.ok(p.sendMessageInTransaction(message, state));
        }
        seen.await(Set.of("committed"), Check.SECONDS);
        // Seen first: it may be decided meanwhile.
        Check.that(!seen.bodies().contains("unknown, then committed") || asked.contains("unknown, then committed"), "a message came before its transaction was decided");
        Check.eventually(120, () -> asked.size() == 2 ? null : "the producer was asked about " + asked);
        seen.awaitOnly(Set.of("committed", "unknown, then committed"), Check.SECONDS);
        c.shutdown();
        p.shutdown();
    }
}
