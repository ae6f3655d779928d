package raftmq;

import java.nio.charset.StandardCharsets;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;

/** Requests and their replies. */
final class Requests {
    private Requests() {}

    static void haveReplies(Cluster cluster) throws Exception {
        String topic = cluster.topic("requests");
        DefaultMQProducer replier = cluster.producer();
        DefaultMQPushConsumer c = cluster.member(cluster.name("responders"));
        c.subscribe(topic, "*");
        c.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (var m : messages) {
                try {
                    String text = Seen.text(m);
                    if (!text.equals("nobody answers")) {
                        Sends.ok(replier.send(MessageUtil.createReplyMessage(m, ("re: " + text).getBytes(StandardCharsets.UTF_8)), 3000));
                    }
                } catch (Exception e) {
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        DefaultMQProducer p = cluster.producer();
        for (int i = 0; i < 10; i++) {
            Message reply = p.request(Sends.message(topic, "question-" + i), Check.SECONDS * 1000L);
            Check.same("re: question-" + i, new String(reply.getBody(), StandardCharsets.UTF_8), "reply");
        }
        String large = "x".repeat(100_000);
        Message reply = p.request(Sends.message(topic, large), Check.SECONDS * 1000L);
        Check.same("re: " + large, new String(reply.getBody(), StandardCharsets.UTF_8), "large reply");
        Check.fails("timeout", () -> p.request(Sends.message(topic, "nobody answers"), 1_000));
        c.shutdown();
        p.shutdown();
        replier.shutdown();
    }
}
