package mqtest

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/client"
	"raftmq/remoting"
)

// rewriteCatalogue has the catalogue of node i, which is stopped, hold another value than the
// others' when it starts: as only a bug, or a memory that fails, could have it.
func (c *Cluster) rewriteCatalogue(i int, from, to string) {
	c.t.Helper()
	db, err := raftboltdb.NewBoltStore(filepath.Join(c.dirs[i], "catalogue", "raft.db"))
	require.NoError(c.t, err)
	defer db.Close()
	first, err := db.FirstIndex()
	require.NoError(c.t, err)
	last, err := db.LastIndex()
	require.NoError(c.t, err)
	found := false
	for at := max(first, 1); at <= last; at++ {
		var l raft.Log
		require.NoError(c.t, db.GetLog(at, &l))
		if bytes.Contains(l.Data, []byte(from)) {
			l.Data, l.Extensions = bytes.ReplaceAll(l.Data, []byte(from), []byte(to)), nil // as from before there were checksums
			require.NoError(c.t, db.StoreLog(&l))
			found = true
		}
	}
	require.True(c.t, found)
}

// keeps is the retention of a topic as node i's catalogue has it.
func (c *Cluster) keeps(i int, topic string) string {
	c.t.Helper()
	w := DialWire(c.t, c.listener(i, 0), remoting.JSON)
	defer w.nc.Close()
	var cfg remoting.TopicConfig
	require.NoError(c.t, remoting.DecodeBody(w.OK(remoting.GetTopicConfig, fields{"topic": topic}, nil).Body, &cfg))
	return cfg.Attributes["retention"]
}

// One node's catalogue comes to differ from the others', whoever leads: it is found, and
// theirs takes its place, for good.
func TestACatalogueThatDiffersIsReplaced(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, func(cfg *broker.Config) { cfg.DigestInterval = 100 * time.Millisecond })
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	topic(ctx, t, c.Client(), "t", map[string]string{"retention": "48h"})
	all := func(what string, ok func(i int) bool) {
		t.Helper()
		for i := range c.Nodes {
			c.until(what, func() bool { return ok(i) })
		}
	}
	compared := func() (sum float64) {
		for i := range c.Nodes {
			sum += c.metric(i, "raftmq_catalogue_compared_total")
		}
		return sum
	}
	differed := func() (sum float64) {
		for i := range c.Nodes {
			sum += c.metric(i, "raftmq_catalogue_differed_total")
		}
		return sum
	}
	again := func(values ...string) { // "": as it is
		t.Helper()
		for i := range values {
			c.Stop(i)
		}
		for i, v := range values {
			if v != "" {
				c.rewriteCatalogue(i, "48h", v)
			}
		}
		c.joins = nil
		for i := range values {
			c.Run(i)
		}
	}
	c.until("sound ones are compared", func() bool { return compared() > 2 })
	require.Zero(t, differed())
	for i := range c.Nodes {
		values := make([]string, 3)
		values[i] = "47h"
		again(values...)
		c.until("it is replaced", func() bool { return c.metric(i, "raftmq_catalogue_replaced_total") == 1 })
		all("they have the majority's", func(j int) bool { return c.keeps(j, "t") == "48h" })
		c.Stop(i)
		c.Run(i)
		c.Await(i)
		before := compared()
		c.until("it is compared again", func() bool { return compared() > before+2 })
		require.Zero(t, c.metric(i, "raftmq_catalogue_replaced_total"), "it was kept")
	}
	require.NoError(t, c.Client().Admin().UpdateTopic(ctx, client.TopicConfig{Name: "t", Queues: 1, Attributes: map[string]string{"retention": "50h"}}))
}

// No two catalogues agree: nothing is decided, and messages go on, until one is put in the
// others' place.
func TestADisputedCatalogueDecidesNothing(t *testing.T) {
	t.Parallel()
	c := Start(t, 3, func(cfg *broker.Config) { cfg.DigestInterval = 100 * time.Millisecond })
	ctx, cancel := context.WithTimeout(context.Background(), whole)
	defer cancel()
	topic(ctx, t, c.Client(), "t", map[string]string{"retention": "48h"})
	for i := range c.Nodes {
		c.Stop(i)
	}
	c.rewriteCatalogue(1, "48h", "47h")
	c.rewriteCatalogue(2, "48h", "46h")
	c.joins = nil
	for i := range c.Nodes {
		c.Run(i)
	}
	c.until("the leader says so", func() bool {
		n := 0.0
		for i := range c.Nodes {
			n += c.metric(i, "raftmq_catalogue_disputed")
		}
		return n == 1
	})
	c.Await(0)
	w := DialWire(t, c.listener(0, 0), remoting.JSON)
	r := w.ask(remoting.UpdateAndCreateTopic, topicOf("u", 1), nil)
	require.Equal(t, remoting.ServiceNotAvailable, r.Code, r.Remark)
	require.Contains(t, r.Remark, "certainly not done")
	p, err := c.Client().NewProducer("p", client.WithSendTimeout(ample))
	require.NoError(t, err)
	_, err = p.Send(ctx, &client.Message{Topic: "t", Body: []byte("x")})
	require.NoError(t, err)

	// One node's folder counts for all.
	for i := range c.Nodes {
		c.Stop(i)
	}
	for i := 1; i < 3; i++ {
		dir := filepath.Join(c.dirs[i], "catalogue")
		require.NoError(t, os.RemoveAll(dir))
		require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(c.dirs[0], "catalogue"))))
	}
	c.joins = nil
	for i := range c.Nodes {
		c.Run(i)
	}
	for i := range c.Nodes {
		c.Await(i)
		require.Equal(t, "48h", c.keeps(i, "t"))
	}
	w = DialWire(t, c.listener(0, 0), remoting.JSON)
	w.OK(remoting.UpdateAndCreateTopic, topicOf("u", 1), nil)
}
