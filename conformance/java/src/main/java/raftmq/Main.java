package raftmq;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Runs the checks one after the other, or those that are named; the exit code is 1 if one failed. For each it prints "begin" and its name, what it has to say,
 * and "ok" or "failed", its name, and how many seconds it took.
 */
public final class Main {
    /** Runs when it is named: somebody must kill nodes meanwhile. */
    private static final String KILLED = "NothingAcknowledgedIsLostWhileNodesAreKilled";

    private Main() {}

    private static Map<String, Check> checks() {
        Map<String, Check> all = new LinkedHashMap<>();
        all.put("TopicsAreCreatedAndDeleted", Topics::createdAndDeleted);
        all.put("TheFirstSendMakesItsTopic", Sends::theFirstMakesItsTopic);
        all.put("SendsOfEveryKind", Sends::ofEveryKind);
        all.put("SendsByTheVIPChannel", Sends::byTheVIPChannel);
        all.put("WhatCannotBeStoredIsRefused", Sends::whatCannotBeStoredIsRefused);
        all.put("MembersShareTheQueues", Groups::membersShare);
        all.put("EachBroadcastMemberHasAll", Groups::eachBroadcastMemberHasAll);
        all.put("AnotherMemberGoesOn", Groups::anotherGoesOn);
        all.put("AGroupMayBeginAtTheEnd", Groups::aGroupMayBeginAtTheEnd);
        all.put("AnOperatorMovesARunningGroup", Groups::anOperatorMovesARunningGroup);
        all.put("AGroupsPlaceAndMembersAreTold", Groups::itsPlaceAndItsMembersAreTold);
        all.put("KeysKeepTheirOrder", Ordered::keysKeepTheirOrder);
        all.put("TagsAreFiltered", Filters::byTag);
        all.put("PropertiesAreFiltered", Filters::byProperties);
        all.put("WhatFailsComesAgainAndIsBuried", Retries::whatFailsComesAgainAndIsBuried);
        all.put("AListenerThatSaysNothingHasItAgain", Retries::whoSaysNothingHasItAgain);
        all.put("TransactionsAreDecidedOrAskedAbout", Transactions::areDecidedOrAskedAbout);
        all.put("DelaysAreNotEarly", Delays::areNotEarly);
        all.put("DelaysCanBeTakenBack", Delays::canBeTakenBack);
        all.put("RequestsHaveReplies", Requests::haveReplies);
        all.put("ALiteConsumerPolls", Pulls::aLiteConsumerPolls);
        all.put("ALiteConsumerSeeks", Pulls::aLiteConsumerSeeks);
        all.put("APullNamesItsOffset", Pulls::aPullNamesItsOffset);
        all.put("QueriesFindMessages", Queries::findMessages);
        all.put("TracesAreKept", Queries::tracesAreKept);
        all.put(KILLED, Killed::nothingAcknowledgedIsLost);
        return all;
    }

    public static void main(String[] args) {
        Cluster cluster = new Cluster(args[0]);
        boolean ok = true;
        for (var c : checks().entrySet()) {
            boolean named = Arrays.asList(args).indexOf(c.getKey()) > 0;
            if (!named && (args.length > 1 || c.getKey().equals(KILLED))) {
                continue;
            }
            System.out.println("begin " + c.getKey());
            long begin = System.nanoTime();
            String failure = null;
            try {
                c.getValue().run(cluster);
            } catch (Throwable e) {
                StringWriter w = new StringWriter();
                e.printStackTrace(new PrintWriter(w));
                failure = w.toString();
            }
            if (failure != null) {
                ok = false;
                System.out.print(failure.indent(4));
            }
            System.out.printf("%s %s %.1f%n", failure == null ? "ok" : "failed", c.getKey(), (System.nanoTime() - begin) / 1e9);
        }
        System.exit(ok ? 0 : 1);
    }
}
