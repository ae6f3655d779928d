package raftmq;

import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** How members of a group share queues, and go on where others ended. */
final class Groups {
    private Groups() {}

    static Set<String> send(DefaultMQProducer p, String topic, String prefix, int n) throws Exception {
        Set<String> sent = new TreeSet<>();
        for (int i = 0; i < n; i++) {
            Sends.ok(p.send(Sends.message(topic, prefix + i)));
            sent.add(prefix + i);
        }
        return sent;
    }

    static void membersShare(Cluster cluster) throws Exception {
        String topic = cluster.topic("share");
        String group = cluster.name("group");
        DefaultMQProducer p = cluster.producer();
        Seen a = new Seen();
        Seen b = new Seen();
        var first = cluster.member(group, topic, "*", a);
        a.awaitOnly(send(p, topic, "alone-", 12), Check.SECONDS);
        var second = cluster.member(group, topic, "*", b);
        Check.eventually(Check.SECONDS, () -> {
            int n = queues(first), m = queues(second);
            return n == 3 && m == 3 ? null : "members have " + n + " and " + m + " queues of six";
        });
        int before = a.bodies().size();
        Set<String> sent = send(p, topic, "shared-", 60);
        Check.eventually(Check.SECONDS, () -> {
            Set<String> got = new TreeSet<>(a.bodies());
            got.addAll(b.bodies());
            return got.containsAll(sent) ? null : "messages are missing";
        });
        Check.that(a.bodies().size() > before && !b.bodies().isEmpty(), "one member has all");
        second.shutdown();
        Check.eventually(Check.SECONDS, () -> queues(first) == 6 ? null : "the first has " + queues(first) + " queues of six");
        a.await(send(p, topic, "again-", 12), Check.SECONDS);
        first.shutdown();
        p.shutdown();
    }

    private static int queues(DefaultMQPushConsumer c) {
        return (int) c.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet().stream().filter(q -> !q.getTopic().startsWith("%RETRY%")).count();
    }

    static void eachBroadcastMemberHasAll(Cluster cluster) throws Exception {
        String topic = cluster.topic("broadcast");
        String group = cluster.name("group");
        Seen a = new Seen();
        Seen b = new Seen();
        DefaultMQPushConsumer[] members = {cluster.member(group), cluster.member(group)};
        a.from(members[0]);
        b.from(members[1]);
        for (var m : members) {
            broadcast(m);
            m.subscribe(topic, "*");
            m.start();
        }
        DefaultMQProducer p = cluster.producer();
        Set<String> sent = send(p, topic, "all-", 30);
        a.awaitOnly(sent, Check.SECONDS);
        b.awaitOnly(sent, Check.SECONDS);
        for (var m : members) {
            m.shutdown();
        }
        p.shutdown();
    }

    /** The type has a package of its own in each version of the client. */
    private static void broadcast(DefaultMQPushConsumer c) {
        for (var model : c.getMessageModel().getDeclaringClass().getEnumConstants()) {
            if (model.name().equals("BROADCASTING")) {
                c.setMessageModel(model);
            }
        }
    }

    static void anotherGoesOn(Cluster cluster) throws Exception {
        String topic = cluster.topic("resume");
        String group = cluster.name("group");
        DefaultMQProducer p = cluster.producer();
        Seen a = new Seen();
        Seen b = new Seen();
        var first = cluster.member(group, topic, "*", a);
        a.awaitOnly(send(p, topic, "first-", 30), Check.SECONDS);
        first.shutdown(); // commits
        Set<String> later = send(p, topic, "later-", 30);
        var second = cluster.member(group, topic, "*", b);
        b.awaitOnly(later, Check.SECONDS);
        second.shutdown();
        p.shutdown();
    }

    static void aGroupMayBeginAtTheEnd(Cluster cluster) throws Exception {
        String topic = cluster.topic("end");
        DefaultMQProducer p = cluster.producer();
        send(p, topic, "before-", 12);
        Seen seen = new Seen();
        DefaultMQPushConsumer c = cluster.member(cluster.name("group"));
        c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        c.subscribe(topic, "*");
        seen.from(c);
        c.start();
        Check.eventually(Check.SECONDS, () -> queues(c) == 6 ? null : "no queues");
        for (MessageQueue q : c.fetchSubscribeMessageQueues(topic)) {
            Check.eventually(Check.SECONDS, () -> c.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet().contains(q) ? null : "not its queue");
        }
        Thread.sleep(1000); // its first pulls: there is nothing to see of them from outside
        seen.awaitOnly(send(p, topic, "after-", 12), Check.SECONDS);
        c.shutdown();
        p.shutdown();
    }

    static void anOperatorMovesARunningGroup(Cluster cluster) throws Exception {
        String topic = cluster.topic("reset");
        String group = cluster.name("group");
        DefaultMQProducer p = cluster.producer();
        Set<String> sent = send(p, topic, "early-", 12);
        Thread.sleep(Check.LATE_MS + 100);
        Set<String> late = send(p, topic, "late-", 12);
        sent.addAll(late);
        Seen seen = new Seen();
        var c = cluster.member(group, topic, "*", seen);
        seen.awaitOnly(sent, Check.SECONDS);
        // When they are stored the cluster says: its time may be behind this process's, and late messages before what this would call their time.
        long time = late.stream().mapToLong(b -> seen.of(b).get(0).getStoreTimestamp()).min().orElseThrow();
        DefaultMQAdminExt admin = cluster.of(new DefaultMQAdminExt(10_000));
        admin.start();
        // A member is told by the answer to its pull. It leaves the queue alone for 10 s then (OFFSET_ILLEGAL in DefaultMQPushConsumerImpl), and has it
        // again when it next shares queues.
        Check.same(6, admin.resetOffsetByTimestamp(topic, group, time, true).size(), "queues that were moved");
        Check.eventually(Check.SECONDS, () -> {
            for (String b : late) {
                if (seen.of(b).size() < 2) {
                    return b + " did not come again";
                }
            }
            return null;
        });
        for (String b : sent) {
            Check.same(late.contains(b) ? 2 : 1, seen.of(b).size(), "how often came " + b);
        }
        admin.shutdown();
        c.shutdown();
        p.shutdown();
    }

    static void itsPlaceAndItsMembersAreTold(Cluster cluster) throws Exception {
        String topic = cluster.topic("lag");
        String group = cluster.name("group");
        DefaultMQProducer p = cluster.producer();
        Seen seen = new Seen();
        var c = cluster.member(group, topic, "*", seen);
        seen.awaitOnly(send(p, topic, "m-", 30), Check.SECONDS);
        DefaultMQAdminExt admin = cluster.of(new DefaultMQAdminExt(10_000));
        admin.start();
        Check.eventually(Check.SECONDS, () -> {
            long lag = admin.examineConsumeStats(group, topic).computeTotalDiff();
            return lag == 0 ? null : "lag " + lag;
        });
        var connections = admin.examineConsumerConnectionInfo(group).getConnectionSet();
        Check.same(1, connections.size(), "members");
        String id = connections.iterator().next().getClientId();
        var info = admin.getConsumerRunningInfo(group, id, false);
        Check.that(info.getMqTable().keySet().stream().anyMatch(q -> q.getTopic().equals(topic)), "what runs in the member says nothing of its queues");
        Check.same(1, admin.examineProducerConnectionInfo(p.getProducerGroup(), topic).getConnectionSet().size(), "producers");
        c.shutdown();
        send(p, topic, "more-", 10);
        Check.eventually(Check.SECONDS, () -> {
            long lag = admin.examineConsumeStats(group, topic).computeTotalDiff();
            return lag == 10 ? null : "lag " + lag;
        });
        admin.shutdown();
        p.shutdown();
    }
}
