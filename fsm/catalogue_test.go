package fsm

import (
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

func decide(t *testing.T, c *Catalogue, index uint64, cmd []byte) CatalogueResult {
	t.Helper()
	res, err := c.Apply([]*raft.Log{{Index: index, Term: 1, Type: raft.LogCommand, Data: cmd}})
	require.NoError(t, err)
	return res[0].(CatalogueResult)
}

func TestCatalogueDecides(t *testing.T) {
	c, err := OpenCatalogue(nil)
	require.NoError(t, err)
	nodes := []Node{{"a", 1}, {"b", 1}, {"c", 1}}
	slots := []Slot{{0, []string{"a", "b", "c"}}, {1, []string{"b", "c", "a"}}}
	require.NoError(t, decide(t, c, 1, EncodeBootstrap(nil, "x", slots, nodes)).Err)
	require.ErrorIs(t, decide(t, c, 2, EncodeBootstrap(nil, "y", slots, nodes)).Err, ErrBootstrapped)

	changed := c.Changed()
	res := decide(t, c, 3, EncodeCreateTopic(nil, TopicSpec{Name: "t", ReadQueues: 2, WriteQueues: 2, Perm: 6}))
	require.NoError(t, res.Err)
	<-changed
	require.Len(t, res.Topic.Partitions, 2)
	require.Equal(t, Partition{ID: 2, Topic: "t", Slot: 1, Number: 1, Voters: []Node{{"b", 1}, {"c", 1}, {"a", 1}}}, res.Topic.Partitions[1])
	require.ErrorIs(t, decide(t, c, 4, EncodeCreateTopic(nil, TopicSpec{Name: "t", ReadQueues: 2, WriteQueues: 2})).Err, ErrExists)
	require.ErrorIs(t, decide(t, c, 5, EncodeCreateTopic(nil, TopicSpec{Name: "u", ReadQueues: 2, WriteQueues: 2, Slots: []int{9}})).Err, ErrInvalid)

	require.NoError(t, decide(t, c, 6, EncodeCreateTopic(nil, TopicSpec{Name: "u", ReadQueues: 1, WriteQueues: 1, Slots: []int{1}})).Err)
	decide(t, c, 7, EncodeSubscribe(nil, "g", []string{"t"}))
	decide(t, c, 8, EncodeSubscribe(nil, "g", []string{"u", "t"}))
	g, _ := c.Group("g")
	require.Equal(t, map[int][]uint64{0: {1}, 1: {2, 3}}, g.Retry)
	require.NoError(t, decide(t, c, 9, EncodeDeleteTopic(nil, "t")).Err)
	g, _ = c.Group("g")
	require.Equal(t, map[int][]uint64{0: {0}, 1: {0, 3}}, g.Retry, "holes stay")
	_, ok := c.Partition(2)
	require.False(t, ok)
	res = decide(t, c, 10, EncodeCreateTopic(nil, TopicSpec{Name: "t", ReadQueues: 1, WriteQueues: 1}))
	require.EqualValues(t, 4, res.Topic.Partitions[0].ID, "ids are not used again")

	decide(t, c, 11, EncodePutKV(nil, "ns", "k", "v"))
	require.Equal(t, "v", c.KV("ns")["k"])

	// A snapshot holds all of it.
	state, _ := c.Checkpoint()
	d, err := OpenCatalogue(nil)
	require.NoError(t, err)
	require.NoError(t, d.Restore(state, 11, 1))
	again, _ := d.Checkpoint()
	require.Equal(t, state, again)
	p, ok := d.Partition(4)
	require.True(t, ok)
	require.Equal(t, "t", p.Topic)
	_, err = d.Apply([]*raft.Log{{Index: 12, Type: raft.LogCommand, Data: []byte{200, 1}}})
	require.ErrorIs(t, err, ErrUnknownCommand)
}
