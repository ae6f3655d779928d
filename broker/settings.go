package broker

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"raftmq/message"
	"raftmq/remoting"
)

// delayLevels are RocketMQ's, of which a message may name one.
const delayLevels = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"

// settings answers 26 with the settings of this node as Java's properties: by RocketMQ's names where one
// means the same, and by ours.
func (b *Broker) settings(r *request) *remoting.Command {
	t := b.settingsOf(max(r.slot, 0))
	var text strings.Builder
	for _, k := range slices.Sorted(maps.Keys(t)) {
		text.WriteString(k + "=" + escaped(t[k]) + "\n")
	}
	version := remoting.EncodeBody(remoting.DataVersion{Timestamp: b.now().Add(-b.uptime()).UnixMilli()})
	return r.ReplyWith(remoting.VersionReply{Version: string(version)}, []byte(text.String()))
}

// escaped is a value as it is written in properties.
func escaped(v string) string {
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`).Replace(v)
}

func (b *Broker) settingsOf(slot int) map[string]string {
	c := b.cfg
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	ms := func(d time.Duration) string { return n(d.Milliseconds()) }
	t := map[string]string{
		"brokerClusterName": c.Cluster, "brokerName": brokerName(slot), "brokerId": "0", "brokerRole": "SYNC_MASTER", "flushDiskType": "SYNC_FLUSH",
		"brokerIP1": c.Advertise, "namesrvAddr": b.addrs.NameServer, "storePathRootDir": c.Data,
		"autoCreateTopicEnable": strconv.FormatBool(c.AutoCreateTopics), "autoCreateSubscriptionGroup": "true", "defaultTopicQueueNums": n(int64(c.DefaultQueues)),
		"enablePropertyFilter": strconv.FormatBool(!c.NoPropertyFilter), "maxMessageSize": n(int64(c.MaxBody)),
		"fileReservedTime": hoursOf(c.Retention), "deleteWhen": c.DeleteWhen, "diskMaxUsedSpaceRatio": n(int64(c.DiskCleanAt)),
		"mappedFileSizeCommitLog": n(c.SegmentBytes), "transactionTimeOut": ms(c.TransactionTimeout), "transactionCheckInterval": ms(c.TransactionCheckInterval),
		"transactionCheckMax": n(int64(c.TransactionChecks)), "timerMaxDelaySec": n(int64(c.MaxDelay / time.Second)), "slaveReadEnable": "true", "traceTopicEnable": "true",
		"traceOn": "true", "msgTraceTopicName": message.TraceTopic, "messageDelayLevel": delayLevels, "filterServerNums": "0", "useTLS": "false",

		"raftmq.node": c.Node, "raftmq.version": Version, "raftmq.featureLevel": strconv.FormatUint(b.FeatureLevel(), 10),
		"raftmq.raft": b.addrs.Raft, "raftmq.gossip": b.addrs.Gossip, "raftmq.http": b.addrs.HTTP, "raftmq.slots": n(int64(c.Slots)), "raftmq.peerTLS": strconv.FormatBool(c.PeerTLS != nil),
		"raftmq.retention": c.Retention.String(), "raftmq.retentionDead": c.RetentionDead.String(), "raftmq.retentionBytes": n(c.RetentionBytes),
		"raftmq.maxDelay": c.MaxDelay.String(), "raftmq.maxConnections": n(int64(c.MaxConnections)), "raftmq.maxRequestBytes": n(c.MaxRequestBytes), "raftmq.maxReplyBytes": n(c.MaxReplyBytes),
		"raftmq.walSegmentBytes": n(c.WALSegmentBytes), "raftmq.walSegments": n(int64(c.WALSegments)), "raftmq.checkpointBytes": n(c.CheckpointBytes),
		"raftmq.diskCleanAt": n(int64(c.DiskCleanAt)), "raftmq.diskForceAt": n(int64(c.DiskForceAt)), "raftmq.diskRefuseAt": n(int64(c.DiskRefuseAt)), "raftmq.diskReserve": n(c.DiskReserve),
		"raftmq.scrubRate": n(c.ScrubRate), "raftmq.scrubEvery": c.ScrubEvery.String(), "raftmq.digestInterval": c.DigestInterval.String(),
		"raftmq.heartbeat": c.Heartbeat.String(), "raftmq.writeDeadline": c.WriteDeadline.String(),
	}
	if slot < len(b.addrs.Listeners) {
		if i := strings.LastIndexByte(b.addrs.Listeners[slot], ':'); i >= 0 {
			t["listenPort"] = b.addrs.Listeners[slot][i+1:]
		}
	}
	return t
}

// hoursOf is a time in hours, rounded up; -1: for ever.
func hoursOf(d time.Duration) string {
	if d < 0 {
		return "-1"
	}
	return fmt.Sprint(int64((d + time.Hour - 1) / time.Hour))
}
