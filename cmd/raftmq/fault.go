package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// fault does something to the leader of a dev cluster's topic, waits until the
// others have gone on, and returns what mends it.
type fault func(ctx context.Context, dir, leader string, others []string) (mend func() error, err error)

var faults = map[string]fault{"kill": killLeader, "pause": pauseLeader, "suffix": growSuffix, "wipe": wipeLeader}

func killLeader(ctx context.Context, dir, leader string, _ []string) (func() error, error) {
	if err := tellDev(ctx, dir, "kill", leader); err != nil {
		return nil, err
	}
	return func() error { return tellDev(ctx, dir, "restart", leader) }, sleep(ctx, 4*time.Second)
}

// wipeLeader kills the leader and deletes its data folder. What mends it waits until
// the cluster has replaced it and it votes again.
func wipeLeader(ctx context.Context, dir, leader string, others []string) (func() error, error) {
	mend, err := killLeader(ctx, dir, leader, others)
	if err != nil {
		return nil, err
	}
	return func() error { return errors.Join(os.RemoveAll(filepath.Join(dir, leader)), mend()) }, nil
}

func pauseLeader(ctx context.Context, dir, leader string, _ []string) (func() error, error) {
	if err := tellDev(ctx, dir, "pause", leader); err != nil {
		return nil, err
	}
	mend := func() error { return tellDev(context.WithoutCancel(ctx), dir, "resume", leader) }
	if err := sleep(ctx, 6*time.Second); err != nil {
		return nil, errors.Join(err, mend())
	}
	return mend, nil
}

// growSuffix leaves the leader with entries at indexes at which the others then
// commit different ones.
func growSuffix(ctx context.Context, dir, leader string, others []string) (func() error, error) {
	clean := context.WithoutCancel(ctx)
	each := func(ctx context.Context, verb string, nodes ...string) (err error) {
		for _, n := range nodes {
			err = errors.Join(err, tellDev(ctx, dir, verb, n))
		}
		return err
	}
	err := each(ctx, "pause", others...)
	if err == nil {
		err = sleep(ctx, 300*time.Millisecond) // less than a lease: it still leads
	}
	if err != nil {
		return nil, errors.Join(err, each(clean, "resume", others...))
	}
	if err = each(ctx, "pause", leader); err == nil {
		if err = each(ctx, "resume", others...); err == nil {
			err = sleep(ctx, 6*time.Second)
		}
	}
	if err != nil {
		return nil, errors.Join(err, each(clean, "resume", append(others, leader)...))
	}
	return func() error { return each(clean, "resume", leader) }, nil
}

// leaderOf finds the node that leads the topic's only partition.
func leaderOf(d *devCluster, topic string) (leader string, others []string, err error) {
	for _, n := range d.Nodes {
		if led, err := leads(n, topic); err == nil && led > 0 && leader == "" {
			leader = n.Name
		} else {
			others = append(others, n.Name)
		}
	}
	if leader == "" {
		return "", nil, errors.New("nobody leads the topic")
	}
	return leader, others, nil
}
