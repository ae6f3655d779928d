package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"raftmq/client"
	"raftmq/jepsen/history"
)

// Workload is what some clients do, and what that proves. One is one file and its
// name in workloads.
type Workload struct {
	Name, Does string
	Proves     []string // properties of package check, beside those of every run
	// Topics are made before the load. Their queues take a send each after the last
	// fault, and are read on every replica at the end.
	Topics []Topic
	// Groups consume a topic, and come to the end of it after the last fault.
	Groups map[string]Topic
	// Retries are those of groups that put back what they fail.
	Retries map[string]history.Retries
	// Sends is how many of its operations store something, of one; 0: none does.
	Sends float64
	Args  []string // more flags for the servers
	// Apart: it is no part of "mixed", since it needs a program that is built apart, and
	// nodes that this machine's own network reaches.
	Apart   bool
	Unmixed bool // it is no part of "mixed" either
	// start says what p does; nothing is asked of the cluster yet.
	start func(r *run, p *part) error
	// drain waits, while the watches go on, until they have come to their end; nil: the groups'
	// ends are enough.
	drain func(ctx context.Context, r *run)
	// settle ends what goes on by itself, after the groups came to the end; nil: nothing.
	settle func(ctx context.Context, r *run) error
	// end asks what is to be asked when the replicas are alike; nil: nothing.
	end func(ctx context.Context, r *run)
}

// Topic is one that a workload uses.
type Topic struct {
	Name               string
	Partitions, Queues int // queues of each partition
	Attributes         map[string]string
	Copies             history.CopiesOf // it is made by its group, and nobody sends to it
}

// Queue is the name of a queue in the history. Numbers are the bundled client's.
func (t Topic) Queue(number int) string { return t.Name + "/" + strconv.Itoa(number) }

func (t Topic) count() int { return t.Partitions * t.Queues }

// names are those of all queues.
func (t Topic) names() (out []string) {
	for q := range t.count() {
		out = append(out, t.Queue(q))
	}
	return out
}

// part is a workload in a run.
type part struct {
	Workload
	rate    float64 // operations a second
	loads   []func(ctx context.Context)
	watches []func(ctx context.Context) error
}

// load adds a client that works until ctx ends, and returns when what it began has
// come to its outcome.
func (p *part) load(f func(ctx context.Context)) { p.loads = append(p.loads, f) }

// watch adds what goes on until all groups have come to the end. Its error is that
// of the run, not of the cluster.
func (p *part) watch(f func(ctx context.Context) error) { p.watches = append(p.watches, f) }

// all are the workloads, in the order of help.
var all = []Workload{logLoad, freshLoad, groupLoad, orderedLoad, offsetsLoad, batchLoad, idempotentLoad, topicsLoad, retentionLoad, transactionsLoad, timersLoad, retryLoad, wideLoad, stockLoad}

// Workloads are the names that a run can have, with what they do.
func Workloads() (names []string, does map[string]string) {
	does = make(map[string]string)
	for _, w := range all {
		names = append(names, w.Name)
		does[w.Name] = w.Does
	}
	return names, does
}

// choose returns the workloads of a list of names; "mixed" is all of them.
func choose(names []string) (out []Workload, err error) {
	known, _ := Workloads()
	if slices.Equal(names, []string{"mixed"}) {
		names = nil
		for _, w := range all {
			if !w.Apart && !w.Unmixed {
				names = append(names, w.Name)
			}
		}
	}
	for _, n := range names {
		i := slices.Index(known, n)
		if i < 0 {
			return nil, fmt.Errorf("no workload %q; there are %s and mixed", n, strings.Join(known, ", "))
		}
		if slices.ContainsFunc(out, func(w Workload) bool { return w.Name == n }) {
			return nil, fmt.Errorf("workload %s is named twice", n)
		}
		out = append(out, all[i])
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no workload; there are %s and mixed", strings.Join(known, ", "))
	}
	return out, nil
}

// logTopic is there in every run: faults aim at who leads its first partition.
var logTopic = Topic{Name: topic, Partitions: partitions, Queues: 2}

// topics are those of all parts and the log's, each once.
func (r *run) topics() (out []Topic) {
	out = append(out, logTopic)
	for _, p := range r.parts {
		for _, t := range p.Topics {
			if !slices.ContainsFunc(out, func(o Topic) bool { return o.Name == t.Name }) {
				out = append(out, t)
			}
		}
	}
	return out
}

// groups are the names of all parts' groups and their topics.
func (r *run) groups() map[string]Topic {
	out := make(map[string]Topic)
	for _, p := range r.parts {
		maps.Copy(out, p.Groups)
	}
	return out
}

// readyWithin is how long the new cluster may take until topics have leaders.
const readyWithin = 60 * time.Second

func (r *run) createTopics(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for _, t := range r.topics() {
		if t.Copies.Group != "" {
			continue
		}
		c := client.TopicConfig{Name: t.Name, Partitions: t.Partitions, Queues: t.Queues, Attributes: t.Attributes}
		for {
			err := r.clients[0].Admin().CreateTopic(ctx, c)
			if err == nil || errors.Is(err, client.ErrExists) { // an earlier try made it
				break
			}
			if !sleep(ctx, 100*time.Millisecond) {
				return err
			}
		}
	}
	for _, p := range r.parts {
		for g := range p.Retries {
			if err := r.subscribe(ctx, g, p.Topics[0]); err != nil {
				return err
			}
		}
	}
	return nil
}

// nextProcess is a number that no process had.
func (r *run) nextProcess() string { return strconv.FormatInt(r.process.Add(1)-1, 10) }

// pick is one of a list.
func pick[T any](rng *rand.Rand, of []T) T { return of[rng.IntN(len(of))] }
