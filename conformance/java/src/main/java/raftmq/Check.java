package raftmq;

import java.util.Objects;
import java.util.concurrent.Callable;

/** A promise that is tested. */
interface Check {
    void run(Cluster cluster) throws Exception;

    static void that(boolean ok, String otherwise) {
        if (!ok) {
            throw new AssertionError(otherwise);
        }
    }

    static void same(Object want, Object got, String what) {
        that(Objects.equals(want, got), what + ": " + got + ", want " + want);
    }

    /** Fails unless f throws an error whose text has a part. */
    static void fails(String part, Callable<?> f) throws Exception {
        Object got;
        try {
            got = f.call();
        } catch (Exception e) {
            that(String.valueOf(e).contains(part), "failed with \"" + e + "\", want \"" + part + "\"");
            return;
        }
        throw new AssertionError("did not fail with \"" + part + "\": " + got);
    }

    /**
     * How long what must come is waited for. A client whose queues change gives its subscription a new version, and says so in a heartbeat, unless it is
     * sending one: what it does not get the lock for it leaves out (messageQueueChanged in RebalancePushImpl, lockHeartbeat in MQClientInstance). If no address
     * of that other heartbeat was left, brokers do not know the version and refuse its pulls (SUBSCRIPTION_NOT_LATEST) until the next, 30 s later; in 5.x the
     * first sharing and the second heartbeat both come a second after the start. Who cannot say which members there are, or where the group is, shares queues
     * anew 20 s later (RebalanceService), and after an answer that was lost a pull is made again 33 s later.
     */
    static final int SECONDS = 90;

    /** By how much the cluster's time, by which messages are stored and delays counted, may be behind: docs/guarantees.md. */
    static final int LATE_MS = 450;

    /** Asks again until nothing is wrong any more; what was last wrong after that many seconds. */
    static void eventually(int seconds, Callable<String> wrong) throws InterruptedException {
        long end = System.nanoTime() + seconds * 1_000_000_000L;
        for (;;) {
            String w;
            try {
                w = wrong.call();
            } catch (Exception e) {
                w = e.toString();
            }
            if (w == null) {
                return;
            }
            if (System.nanoTime() > end) {
                throw new AssertionError(w + " (waited " + seconds + " s)");
            }
            Thread.sleep(50);
        }
    }
}
