package raftmq;

import java.util.UUID;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** The cluster that is tested: its name servers, and clients of it that do not share connections. */
final class Cluster {
    private final String nameservers;
    private final String run = UUID.randomUUID().toString().substring(0, 8);
    private int names;

    Cluster(String nameservers) {
        this.nameservers = nameservers;
    }

    /** A name that no other run has used. */
    synchronized String name(String what) {
        return "j-" + what + "-" + run + "-" + ++names;
    }

    /** Gives a client its place: an instance name of its own keeps connections apart. */
    <C extends ClientConfig> C of(C client) {
        client.setNamesrvAddr(nameservers);
        client.setInstanceName(name("instance"));
        return client;
    }

    /** A topic with two queues in each slot, known to all nodes. */
    String topic(String what) throws Exception {
        String topic = name(what);
        DefaultMQAdminExt admin = of(new DefaultMQAdminExt(10_000));
        admin.start();
        try {
            Check.eventually(Check.SECONDS, () -> {
                Topics.create(admin, topic, 2);
                return null;
            });
        } finally {
            admin.shutdown();
        }
        return topic;
    }

    DefaultMQProducer producer() throws Exception {
        DefaultMQProducer p = of(new DefaultMQProducer(name("producers")));
        p.setRetryTimesWhenSendFailed(4);
        p.start();
        return p;
    }

    /** A member of group that begins at a queue's first message. It is not started. */
    DefaultMQPushConsumer member(String group) {
        DefaultMQPushConsumer c = of(new DefaultMQPushConsumer(group));
        c.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        return c;
    }

    /** A member that is started, and writes down what comes. */
    DefaultMQPushConsumer member(String group, String topic, String tags, Seen seen) throws Exception {
        DefaultMQPushConsumer c = member(group);
        c.subscribe(topic, tags);
        seen.from(c);
        c.start();
        return c;
    }
}
