package broker

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"raftmq/remoting"
)

// kindSick asks a node for its replicas in quarantine: nothing -> []remoting.Quarantined.
const kindSick = 19

const sickWait = 2 * time.Second

// quarantined are the replicas in quarantine here, sorted.
func (b *Broker) quarantined() []remoting.Quarantined {
	list := []remoting.Quarantined{}
	for _, id := range b.sick.ids() {
		q, ok := b.sick.of(id)
		desc, known := b.catalogue.Partition(id)
		if ok && known {
			list = append(list, remoting.Quarantined{Node: b.id.Node, Partition: id, Topic: desc.Topic, Slot: desc.Slot, Reason: q.String()})
		}
	}
	return list
}

func (b *Broker) answerSick(context.Context, string, []byte) ([]byte, error) {
	if !b.begun.Load() {
		return nil, errNoReplica
	}
	return json.Marshal(b.quarantined())
}

// listQuarantined answers for the whole cluster: a node that does not answer is named.
func (b *Broker) listQuarantined(ctx context.Context, r *request) *remoting.Command {
	all := remoting.QuarantineList{Replicas: b.quarantined()}
	for _, n := range b.catalogue.Nodes() {
		if n.Name == b.id.Node {
			continue
		}
		if !b.transport.Alive(n.Name) {
			all.Silent = append(all.Silent, n.Name)
			continue
		}
		ask, cancel := context.WithTimeout(ctx, sickWait)
		raw, err := b.transport.Call(ask, n.Name, kindSick, nil)
		cancel()
		var list []remoting.Quarantined
		if err == nil {
			err = json.Unmarshal(raw, &list)
		}
		if err != nil {
			all.Silent = append(all.Silent, n.Name)
		}
		all.Replicas = append(all.Replicas, list...)
	}
	slices.SortFunc(all.Replicas, func(x, y remoting.Quarantined) int {
		return cmp.Or(cmp.Compare(x.Partition, y.Partition), cmp.Compare(x.Node, y.Node))
	})
	return r.ReplyWith(nil, remoting.EncodeBody(all))
}
