package broker

import (
	"context"
	"errors"
	"fmt"

	"raftmq/fsm"
)

// The cluster's feature level is the highest that every node's program knows; see
// fsm.Level. Nodes tell theirs in hellos and by gossip, and the leader of the catalogue has it
// raised when all nodes that the catalogue knows are there and have come to it. It never
// falls: a program that knows less does not start on a folder that has seen it, is let in by
// nobody, and ends when the catalogue tells it.

// Level is the highest that this program knows.
const Level = fsm.Level

// ErrTooOld: this program knows less than the cluster uses. Nothing was changed.
var ErrTooOld = errors.New("broker: this program is too old for its cluster")

// errLevel: not all nodes can read the command yet; certainly nothing was done.
var errLevel = errors.New("broker: not all nodes of the cluster know this command yet")

// tooOldReason is in the answer to the hello of a node whose program is too old.
const tooOldReason = "its program is too old for this cluster"

func tooOld(knows, inForce uint64) error {
	return fmt.Errorf("%w: it knows feature level %d and the cluster has come to %d: start the node with the version that the others have", ErrTooOld, knows, inForce)
}

// knownLevel is what a node says that it knows; programs that say nothing know the first.
func knownLevel(told uint64) uint64 { return max(told, 1) }

// FeatureLevel is the level that the cluster has come to, as far as this node knows.
func (b *Broker) FeatureLevel() uint64 {
	if !b.begun.Load() {
		return knownLevel(b.id.Level)
	}
	return knownLevel(b.catalogue.FeatureLevel())
}

// allows reports whether all nodes can read a command.
func (b *Broker) allows(cmd []byte) bool {
	return fsm.LevelOf(cmd) <= knownLevel(b.catalogue.FeatureLevel())
}

// keepLevel makes durable what the cluster has come to, so that an older program finds it
// before it reads anything else. ErrTooOld: this one is.
func (b *Broker) keepLevel() error {
	inForce := knownLevel(b.catalogue.FeatureLevel())
	if inForce > b.level {
		return tooOld(b.level, inForce)
	}
	if inForce <= knownLevel(b.keptLevel) {
		return nil
	}
	id := b.id
	id.Level = inForce
	if err := writeIdentity(b.disk, b.cfg.Data, id); err != nil {
		return err
	}
	b.keptLevel = inForce
	b.log.Info("the cluster has come to another feature level", "level", inForce)
	b.event("level", 0, "level", inForce)
	return nil
}

// raiseLevel has the catalogue, which is led here, take the level that all nodes have come
// to. While one is away, or has not said what it knows, nothing is raised.
func (b *Broker) raiseLevel(ctx context.Context) error {
	all := b.level
	nodes := b.catalogue.Nodes()
	for _, n := range nodes {
		if n.Name == b.id.Node {
			continue
		}
		told, ok := b.members.Node(n.Name)
		if !ok || told.Incarnation != n.Incarnation || !b.transport.Alive(n.Name) {
			return nil
		}
		all = min(all, knownLevel(told.Level))
	}
	if len(nodes) == 0 || all <= knownLevel(b.catalogue.FeatureLevel()) {
		return nil
	}
	_, err := b.decide(ctx, fsm.EncodeFeatureLevel(nil, all))
	return err
}
