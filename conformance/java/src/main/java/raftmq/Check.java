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

    /** How long what must come is waited for: a client one of whose heartbeats was lost sends the next after 30 s, and shares queues anew each 20 s. */
    static final int SECONDS = 90;

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
