package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"raftmq/fsm"
	"raftmq/message"
	"raftmq/raftlog"
	"raftmq/remoting"
)

// request is one request on its way through a node.
type request struct {
	*remoting.Command
	conn *remoting.ServerConn
	// slot is that of the listener it came in on, noSlot on the name server's.
	slot int
	// forwarded: another node sent it on; it is not sent on again.
	forwarded bool
	// by is until when it may be done; zero: not said.
	by time.Time
	// from is the client's address.
	from netip.AddrPort
	// client is who asks, as far as it said so in a heartbeat, or when it asked for locks.
	client string
}

// noSlot is the slot of name-server connections.
const noSlot = -1

// Fields that a forwarding node adds, and one that a client of ours sends.
const (
	extSlot   = "_slot"
	extFrom   = "_from"
	extClient = "_client"
	extOurs   = "rmq"    // "1": the client knows our reply codes
	extPID    = "pid"    // producer id, 32 hex digits
	extEpoch  = "pep"    // producer epoch
	extSeq    = "seq"    // sequence of the first message
	extOrder  = "ord"    // "1": refuse gaps
	extLeader = "leader" // in replies: where the leader of the slot listens
	extIfNone = "_new"   // "1": make the topic if there is none, else change nothing
	extAlters = "alters" // of a client of ours, of a topic or group that is there: what the request changes, joined by commas: "read", "write" queues (and attributes); "consume", "broadcast", "retries"
	extAbsent = "_absent"
	// extOffsets is in replies to clients of ours about messages of which one is to
	// come later: the offset of each, -1 of one that waits, joined by commas.
	extOffsets = "offsets"
)

// forwardWait is how long a request waits for a leader. Stock producers give up
// after 3 s: an answer before that lets them try again.
const forwardWait = 2500 * time.Millisecond

// handler serves a listener. An unknown outcome is told to clients of ours only: a
// stock client would read any code as "not stored", so it gets no answer, and its
// own timeout speaks. The same goes for a message that was not put back: stock clients
// of Go would take the answer for success; and for an offset that cannot be told now.
func (b *Broker) handler(slot int) remoting.Handler {
	return remoting.HandlerFunc(func(ctx context.Context, c *remoting.ServerConn, cmd *remoting.Command) *remoting.Command {
		from := addrPortOf(c.RemoteAddr())
		r := &request{Command: cmd, conn: c, slot: slot, from: from, client: b.clientOn(c)}
		opaque, oneway, ours := cmd.Opaque, cmd.IsOneway(), r.ours()
		if len(cmd.Ext) > remoting.MaxExt {
			return r.refuse(remoting.InvalidParameter, "%d fields, at most %d", len(cmd.Ext), remoting.MaxExt)
		}
		if err := b.readBy(r); err != nil {
			return r.failed(err)
		}
		reply := b.handle(ctx, r)
		if reply != nil && ours {
			b.stamp(reply)
		}
		if reply != nil && !ours && unsaid(cmd.Code, reply.Code) {
			if !oneway { // else another request may have the opaque, and wait
				c.Forget(opaque)
			}
			return nil
		}
		return reply
	})
}

// addrPortOf is an address as it is compared and written; zero if it is not of IP. That of each request is asked for.
func addrPortOf(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		at := tcp.AddrPort()
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	}
	at, _ := netip.ParseAddrPort(a.String())
	return at
}

// unsaid reports whether an answer is kept from stock clients, which would take it for another.
func unsaid(asked, code remoting.Code) bool {
	switch asked {
	case remoting.ConsumerSendMessageBack:
		return code != remoting.OK
	case remoting.QueryConsumerOffset:
		// Java's clients of version 4 take every refusal for "the group has no offset", and go on at the queue's end
		// or its first message.
		return code == remoting.OutcomeUnknown || code == remoting.SystemError || unlooked(code)
	case remoting.GetConsumerListByGroup:
		// Stock clients of Go take every answer for a list, and one that does not name them for the end of their share.
		return code == remoting.OutcomeUnknown || unlooked(code)
	}
	return code == remoting.OutcomeUnknown
}

// busyUnsaid is unsaid of what a server refuses before it is handled.
func busyUnsaid(cmd *remoting.Command, refusal remoting.Code) bool {
	r := request{Command: cmd}
	return !r.ours() && unsaid(cmd.Code, refusal)
}

// handleForwarded answers what another node sent on.
func (b *Broker) handleForwarded(ctx context.Context, c *remoting.ServerConn, cmd *remoting.Command) *remoting.Command {
	switch cmd.Code {
	case codeUptime:
		reply := cmd.Reply(remoting.OK, "")
		b.stamp(reply)
		return reply
	case codeLetGo:
		letGo(c, cmd)
		return nil
	}
	ctx, done := mayBeLetGo(ctx, c, cmd)
	defer done()
	r := &request{Command: cmd, conn: c, forwarded: true, client: cmd.Ext[extClient]}
	var err error
	if r.slot, err = strconv.Atoi(cmd.Ext[extSlot]); err != nil {
		return cmd.Reply(remoting.InvalidParameter, "forwarded without a slot")
	}
	r.from, _ = netip.ParseAddrPort(cmd.Ext[extFrom])
	if err := b.readBy(r); err != nil {
		return r.failed(err)
	}
	reply := b.handle(ctx, r)
	if reply != nil {
		b.stamp(reply)
	}
	return reply
}

// ours reports whether the client knows our reply codes.
func (r *request) ours() bool { return r.Ext[extOurs] == "1" || r.Ext[extPID] != "" }

func (b *Broker) handle(ctx context.Context, r *request) *remoting.Command {
	switch r.Code {
	case remoting.SendMessage, remoting.SendMessageV2, remoting.SendBatchMessage:
		return b.send(ctx, r)
	case remoting.SendReplyMessage, remoting.SendReplyMessageV2:
		return b.sendReply(ctx, r)
	case remoting.PullMessage, remoting.LitePullMessage:
		return b.pull(ctx, r)
	case remoting.QueryConsumerOffset:
		return b.queryOffset(ctx, r)
	case remoting.UpdateConsumerOffset:
		return b.commitOffset(ctx, r)
	case remoting.GetMaxOffset, remoting.GetMinOffset, remoting.GetEarliestMessageTime:
		return b.queueBound(ctx, r)
	case remoting.SearchOffsetByTimestamp:
		return b.searchOffset(ctx, r)
	case remoting.ViewMessageByID:
		return b.viewMessage(ctx, r)
	case remoting.RecallMessage:
		return b.recallMessage(ctx, r)
	case remoting.QueryMessage:
		return b.queryMessage(ctx, r)
	case remoting.LockBatchMQ, remoting.UnlockBatchMQ:
		return b.lockQueues(ctx, r)
	case remoting.Heartbeat:
		return b.clients.heartbeat(ctx, r)
	case remoting.UnregisterClient:
		return b.clients.unregister(r)
	case remoting.GetConsumerListByGroup:
		return b.clients.list(ctx, r)
	case remoting.GetConsumerConnectionList:
		return b.clients.consumers(ctx, r)
	case remoting.GetProducerConnectionList:
		return b.clients.producers(ctx, r)
	case remoting.GetRouteByTopic:
		return b.route(ctx, r)
	case remoting.GetBrokerClusterInfo:
		return b.clusterInfo(r)
	case remoting.EndTransaction:
		return b.endTransaction(ctx, r)
	case remoting.CheckTransactionState:
		if r.forwarded {
			return b.relayCheck(ctx, r)
		}
		r.conn.Close() // servers ask it
		return nil
	case remoting.ConsumerSendMessageBack:
		return b.sendBack(ctx, r)
	case remoting.CheckClientConfig:
		return b.checkClient(ctx, r)
	}
	return b.admin(ctx, r)
}

// refuse answers with a code and a reason.
func (r *request) refuse(code remoting.Code, format string, args ...any) *remoting.Command {
	return r.Reply(code, fmt.Sprintf(format, args...))
}

// notKept refuses what names a message by its place that is not kept any more, or never was there.
func (r *request) notKept(format string, args ...any) *remoting.Command {
	reply := r.refuse(remoting.SystemError, format, args...)
	if r.ours() {
		reply.SetExt(remoting.ExtNotKept, "1")
	}
	return reply
}

// failed answers what went wrong: a header's error, a refusal, or an outcome.
func (r *request) failed(err error) *remoting.Command {
	switch {
	case errors.Is(err, remoting.ErrHeader), errors.Is(err, message.ErrName):
		return r.Reply(remoting.InvalidParameter, err.Error())
	case errors.Is(err, errNotHere):
		return r.Reply(remoting.ServiceNotAvailable, "no leader; certainly not done")
	case errors.Is(err, errNoDisk):
		return r.Reply(remoting.ServiceNotAvailable, "[DISK FULL] "+err.Error()+"; certainly not done")
	case errors.Is(err, errHalves):
		return r.Reply(remoting.SystemBusy, "[TRANSACTIONS FULL] "+err.Error()+"; certainly not stored")
	case errors.Is(err, errPutBacks):
		return r.Reply(remoting.SystemBusy, "[PUT-BACKS FULL] "+err.Error()+"; certainly not done")
	case errors.Is(err, errBusy):
		return r.Reply(remoting.SystemBusy, "[OVERLOAD] "+err.Error()+"; certainly not done")
	case errors.Is(err, raftlog.ErrUnknownOutcome):
		return r.Reply(remoting.OutcomeUnknown, err.Error())
	}
	return r.Reply(remoting.SystemError, err.Error())
}

// slotOf takes the broker name that newer clients send as the slot, where the
// listener does not tell.
func (r *request) slotOf(brokerName string) int {
	if s, ok := parseBrokerName(brokerName); ok {
		return s
	}
	return r.slot
}

const brokerPrefix = "raftmq-"

// brokerName is a slot's name to RocketMQ's clients.
func brokerName(slot int) string { return brokerPrefix + strconv.Itoa(slot) }

func parseBrokerName(s string) (slot int, ok bool) {
	n, ok := strings.CutPrefix(s, brokerPrefix)
	if !ok {
		return 0, false
	}
	slot, err := strconv.Atoi(n)
	return slot, err == nil && slot >= 0
}

// locate finds a queue's topic and its partition in the request's slot; a queue
// that is not asked for is below zero. What this node does not know it asks the
// catalogue's leader for, before it refuses.
func (b *Broker) locate(ctx context.Context, r *request, topic string, queue int32) (fsm.Topic, fsm.Partition, *remoting.Command) {
	t, part, ok := b.find(topic, r.slot, queue)
	if !ok {
		err := b.catchUp(ctx)
		if t, part, ok = b.find(topic, r.slot, queue); !ok && err != nil {
			return fsm.Topic{}, part, r.refuse(remoting.ServiceNotAvailable, "queue %d of topic %s in %s is not known here and the catalogue has no leader; certainly not done", queue, topic, brokerName(r.slot))
		}
	}
	switch {
	case t.Name == "":
		return t, part, r.refuse(remoting.TopicNotExist, "topic %s does not exist", topic)
	case part.ID == 0 && !ok:
		return t, part, r.refuse(remoting.InvalidParameter, "topic %s has no partition in %s", topic, brokerName(r.slot))
	case !ok:
		return t, part, r.refuse(remoting.InvalidParameter, "queue %d of topic %s in %s: it has %d", queue, topic, brokerName(r.slot), max(t.ReadQueues, t.WriteQueues))
	}
	return t, part, nil
}

// find is locate by what this node knows. A group's retry queues and dead letters are inside the
// partitions of the topics it consumes, numbered per slot; one whose topic is gone
// is in no partition, and empty for ever.
func (b *Broker) find(topic string, slot int, queue int32) (t fsm.Topic, part fsm.Partition, ok bool) {
	group, retry := message.RetryGroup(topic)
	if !retry {
		group, retry = message.DLQGroup(topic)
	}
	if retry {
		g, known := b.catalogue.Group(group)
		n := int32(len(g.Retry[slot]))
		if !known || n == 0 {
			return t, part, false
		}
		t = fsm.Topic{Name: topic, ReadQueues: n, WriteQueues: n, Perm: permRead | permWrite}
		if queue < 0 || queue >= n {
			return t, part, false
		}
		part, _ = b.catalogue.Partition(g.Retry[slot][queue])
		return t, part, true
	}
	if t, ok = b.catalogue.Topic(topic); !ok {
		return fsm.Topic{}, part, false
	}
	for _, p := range t.Partitions {
		if p.Slot == slot {
			return t, p, queue < max(t.ReadQueues, t.WriteQueues)
		}
	}
	return t, part, false
}

// Permission bits of a topic.
const (
	permInherit = 1
	permWrite   = 2
	permRead    = 4
)

// maxQueues bounds a topic's queues per partition.
const maxQueues = 1024
