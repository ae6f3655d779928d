package raftmq;

import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** Topics as RocketMQ's administration client makes and deletes them. */
final class Topics {
    private Topics() {}

    static void create(DefaultMQAdminExt admin, String topic, int queues) throws Exception {
        TopicConfig c = new TopicConfig(topic, queues, queues, 6);
        for (var b : admin.examineBrokerClusterInfo().getBrokerAddrTable().values()) {
            admin.createAndUpdateTopicConfig(b.selectBrokerAddr(), c);
        }
        Check.eventually(Check.SECONDS, () -> {
            int slots = admin.examineTopicRouteInfo(topic).getQueueDatas().size();
            return slots == 3 ? null : slots + " slots";
        });
    }

    static void createdAndDeleted(Cluster cluster) throws Exception {
        DefaultMQAdminExt admin = cluster.of(new DefaultMQAdminExt(10_000));
        admin.start();
        String topic = cluster.name("topic");
        create(admin, topic, 3);
        Set<String> slots = new TreeSet<>();
        for (var q : admin.examineTopicRouteInfo(topic).getQueueDatas()) {
            slots.add(q.getBrokerName());
            Check.same(3, q.getWriteQueueNums(), "queues to write");
            Check.same(3, q.getReadQueueNums(), "queues to read");
            Check.same(6, q.getPerm(), "permission");
        }
        Check.same(Set.of("raftmq-0", "raftmq-1", "raftmq-2"), slots, "slots");
        Check.that(admin.fetchAllTopicList().getTopicList().contains(topic), "the list of topics is without it");
        Set<String> addresses = new TreeSet<>();
        for (var b : admin.examineBrokerClusterInfo().getBrokerAddrTable().values()) {
            addresses.addAll(b.getBrokerAddrs().values());
        }
        admin.deleteTopicInBroker(addresses, topic);
        Check.eventually(Check.SECONDS, () -> admin.fetchAllTopicList().getTopicList().contains(topic) ? "it is still in the list" : null);
        Check.fails("No topic route info", () -> admin.examineTopicRouteInfo(topic));
        admin.shutdown();
    }
}
