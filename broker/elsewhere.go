package broker

import (
	"context"
	"errors"
	"maps"
	"time"

	"raftmq/remoting"
	"raftmq/store"
)

// extCopy, "1": the answer is wanted from the replica of the node that is asked,
// leader or not, because the leader's own copy is damaged there. Such a request is
// not sent on.
const extCopy = "_copy"

// absent is the certain "not here" to another node.
func (r *request) absent() *remoting.Command {
	reply := r.Reply(remoting.NotLeaderForQueue, "not here; certainly not done")
	reply.SetExt(extAbsent, "1")
	return reply
}

// Bounds of a read from elsewhere.
const (
	elsewhereWait  = 2 * time.Second
	elsewherePause = 20 * time.Millisecond
)

// elsewhere has a read that met damage here answered by another replica: what is
// committed is the same everywhere. It returns err, if that is no damage or no other
// replica can read it either; errNotHere if another leads meanwhile.
func (b *Broker) elsewhere(ctx context.Context, r *request, p *partition, err error) (*remoting.Command, error) {
	if !errors.Is(err, store.ErrDamaged) || r.Ext[extCopy] == "1" {
		return nil, err
	}
	sub, cmd := *r, *r.Command
	cmd.Ext = maps.Clone(r.Ext)
	sub.Command = &cmd
	sub.SetExt(extCopy, "1")
	for deadline := time.Now().Add(elsewhereWait); ; {
		for _, n := range p.desc.Voters {
			if n.Name == b.id.Node || !b.transport.Alive(n.Name) {
				continue
			}
			reply, err := b.forwards.call(ctx, n.Name, &sub, forwardWait)
			if err != nil {
				continue
			}
			switch reply.Code {
			case remoting.OK, remoting.PullRetryImmediately, remoting.QueryNotFound:
				return reply, nil
			}
		}
		if !p.leads() {
			return nil, errNotHere
		}
		if time.Now().After(deadline) {
			return nil, err
		}
		select {
		case <-time.After(elsewherePause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// fromCopy answers a read that the leader could not, from the replica here.
func (b *Broker) fromCopy(ctx context.Context, r *request, partition uint64, read func(context.Context, *partition) (*remoting.Command, error)) *remoting.Command {
	p, ok := b.partition(partition)
	if !ok || p.withheld.Load() {
		return r.absent()
	}
	ctx, cancel := context.WithTimeout(ctx, forwardWait)
	defer cancel()
	if err := p.replica.CatchUp(ctx); err != nil {
		return r.absent()
	}
	if err := b.admission.lookups.enter(ctx); err != nil {
		return r.failed(err)
	}
	defer b.admission.lookups.leave()
	reply, err := read(ctx, p)
	if err != nil {
		return r.absent()
	}
	return reply
}
