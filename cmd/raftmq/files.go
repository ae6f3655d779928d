package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"raftmq/client"
)

// filesResult is what bench files prints.
type filesResult struct {
	Files      int   `json:"files"`
	Sent       int   `json:"sent"`
	Refused    int   `json:"refused"`    // over the limit, with a clear error
	Unknown    int   `json:"unknown"`    // no outcome
	Failed     int   `json:"failed"`     // certainly not stored, though within the limit
	Consumed   int   `json:"consumed"`   // different files
	Repeated   int   `json:"repeated"`   // deliveries beyond the first: at least once is promised
	Lost       int   `json:"lost"`       // acknowledged and not consumed
	WrongHash  int   `json:"wrong_hash"` // consumed with other bytes
	Duplicates int   `json:"duplicates"` // more than once in the log
	Digests    bool  `json:"digests_equal"`
	Bytes      int64 `json:"bytes"`
}

// check is nil if what was acknowledged held, and there was something.
func (r *filesResult) check() error {
	switch {
	case r.Lost+r.WrongHash+r.Duplicates+r.Failed > 0 || !r.Digests:
		return exitError{exitCheck, errors.New("what was acknowledged did not hold")}
	case r.Sent == 0:
		return exitError{exitCheck, errors.New("nothing was acknowledged")}
	}
	return nil
}

const filesLimit = 1 << 20

func filesCommand() *cobra.Command {
	var root string
	var kills int
	var over time.Duration
	c := &cobra.Command{
		Use: "files", Short: "Send every file of a folder through a cluster whose leaders are killed, and check each", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if root == "" {
				out, err := exec.CommandContext(cmd.Context(), "go", "env", "GOROOT").Output()
				if err != nil {
					return fmt.Errorf("find the Go toolchain's source: %w", err)
				}
				root = filepath.Join(strings.TrimSpace(string(out)), "src")
			}
			r, err := benchFiles(cmd.Context(), root, kills, over)
			if err != nil {
				return err
			}
			enc := json.NewEncoder(os.Stdout)
			enc.SetIndent("", "  ")
			if err := enc.Encode(r); err != nil {
				return err
			}
			return r.check()
		},
	}
	c.Flags().StringVar(&root, "root", "", "folder (default: the Go toolchain's source)")
	c.Flags().IntVar(&kills, "kills", 3, "how often the node that leads most is killed with -9")
	c.Flags().DurationVar(&over, "over", time.Minute, "the time that sending is spread over")
	return c
}

func benchFiles(ctx context.Context, root string, kills int, over time.Duration) (*filesResult, error) {
	dir, stop, err := startDev("--max-body", fmt.Sprint(filesLimit))
	if err != nil {
		return nil, err
	}
	defer stop()
	d, cl, err := openCluster(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer cl.Close(context.WithoutCancel(ctx))
	var paths []string
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	const topic = "files"
	if err := cl.Admin().CreateTopic(ctx, client.TopicConfig{Name: topic, Queues: 2}); err != nil {
		return nil, err
	}
	var r filesResult
	r.Files = len(paths)
	fmt.Fprintf(os.Stderr, "%d files below %s, over %v\n", len(paths), root, over)

	got := make(map[string]int) // by path
	var mu sync.Mutex
	run, done := context.WithCancel(ctx)
	defer done()
	var members sync.WaitGroup
	for range 2 {
		mc, err := d.client(ctx)
		if err != nil {
			return nil, err
		}
		defer mc.Close(context.WithoutCancel(ctx))
		cons, err := mc.NewConsumer("files-group")
		if err != nil {
			return nil, err
		}
		if err := cons.Subscribe(topic, client.All()); err != nil {
			return nil, err
		}
		members.Go(func() {
			cons.Run(run, func(_ context.Context, m *client.Delivery) error {
				sum := sha256.Sum256(m.Body)
				mu.Lock()
				defer mu.Unlock()
				path := m.Properties["path"]
				if m.Properties["sha256"] != hex.EncodeToString(sum[:]) {
					r.WrongHash++
				}
				if got[path]++; got[path] > 1 {
					r.Repeated++
				}
				return nil
			})
		})
	}

	killed := make(chan error, 1)
	go func() { killed <- killMost(ctx, dir, d, topic, kills, over) }()
	acked := make(map[string]bool)
	p, err := cl.NewProducer("files", client.WithSendTimeout(30*time.Second))
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	var sends sync.WaitGroup
	for i, path := range paths {
		if err := sleep(ctx, time.Until(begin.Add(over*time.Duration(i)/time.Duration(len(paths))))); err != nil {
			return nil, err
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(body)
		rel, _ := filepath.Rel(root, path)
		m := &client.Message{Topic: topic, Body: body, Keys: []string{strings.ReplaceAll(rel, " ", "_")}, Properties: map[string]string{"sha256": hex.EncodeToString(sum[:]), "path": rel}}
		sends.Add(1)
		note := func(_ client.Receipt, err error) {
			defer sends.Done()
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				acked[rel] = true
				r.Bytes += int64(len(body))
			case len(body) > filesLimit && errors.Is(err, client.ErrTooLarge):
				r.Refused++
			case errors.Is(err, client.ErrUncertain):
				r.Unknown++
			default:
				r.Failed++
				fmt.Fprintf(os.Stderr, "%s (%d bytes): %v\n", rel, len(body), err)
			}
		}
		if err := p.SendAsync(ctx, m, note); err != nil {
			note(client.Receipt{}, err)
		}
	}
	sends.Wait()
	if err := p.Close(ctx); err != nil {
		return nil, err
	}
	if err := <-killed; err != nil {
		return nil, err
	}
	r.Sent = len(acked)
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		mu.Lock()
		missing := 0
		for path := range acked {
			if got[path] == 0 {
				missing++
			}
		}
		mu.Unlock()
		if missing == 0 {
			break
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
	done()
	members.Wait()
	r.Consumed = len(got)
	for path := range acked {
		if got[path] == 0 {
			r.Lost++
		}
	}
	rd, err := cl.NewReader(topic, client.FromPosition(client.Earliest()))
	if err != nil {
		return nil, err
	}
	defer rd.Close()
	inLog := make(map[string]int)
	for m, err := range rd.UntilEnd(ctx) {
		if err != nil {
			return nil, err
		}
		if inLog[m.Properties["path"]]++; inLog[m.Properties["path"]] > 1 {
			r.Duplicates++
		}
	}
	r.Digests, err = digestsAgree(ctx, d, topic)
	return &r, err
}

// killMost kills the node that leads most of the topic, and restarts it, spread
// over the time.
func killMost(ctx context.Context, dir string, d *devCluster, topic string, kills int, over time.Duration) error {
	for k := range kills {
		if err := sleep(ctx, over/time.Duration(kills+1)); err != nil {
			return err
		}
		best, most := "", -1
		for _, n := range d.Nodes {
			if led, err := leads(n, topic); err == nil && led > most {
				best, most = n.Name, led
			}
		}
		fmt.Fprintf(os.Stderr, "kill %d: %s, which leads %d partitions\n", k+1, best, most)
		if err := tellDev(ctx, dir, "kill", best); err != nil {
			return err
		}
		if err := sleep(ctx, over/time.Duration(4*(kills+1))); err != nil {
			return err
		}
		if err := tellDev(ctx, dir, "restart", best); err != nil {
			return err
		}
	}
	return nil
}
