package fsm

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the expected results in testdata")

// A script in testdata is blocks of command lines, "----", the expected result,
// and an empty line. Arguments are key=value, lists a,b. Commands are those of
// the catalogue, and:
//
//	show       everything, in a readable form
//	restart    from a checkpoint
//	follow     a second replica applies all entries in one batch and is compared
func TestCatalogueScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/catalogue_*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			s := &script{t: t}
			s.open(nil)
			b, err := os.ReadFile(f)
			require.NoError(t, err)
			var out strings.Builder
			for block := range strings.SplitSeq(strings.TrimRight(string(b), "\n"), "\n\n") {
				cmds, want, found := strings.Cut(block+"\n", "----\n")
				var lines []string
				for sc := bufio.NewScanner(strings.NewReader(cmds)); sc.Scan(); {
					if line := sc.Text(); line != "" && !strings.HasPrefix(line, "#") {
						lines = append(lines, line)
					}
				}
				var got strings.Builder
				for _, line := range lines {
					got.WriteString(s.run(line))
				}
				if found && !*rewrite {
					require.Equal(t, want, got.String(), "%s", cmds)
				}
				out.WriteString(cmds)
				if len(lines) > 0 {
					out.WriteString("----\n" + got.String())
				}
				out.WriteString("\n")
			}
			if *rewrite {
				require.NoError(t, os.WriteFile(f, []byte(strings.TrimRight(out.String(), "\n")+"\n"), 0o644))
			}
		})
	}
}

type script struct {
	t       *testing.T
	c       *Catalogue
	entries []*raft.Log
}

func (s *script) open(state []byte) {
	s.t.Helper()
	var err error
	s.c, err = OpenCatalogue(state)
	require.NoError(s.t, err)
}

func listed(v string) []string {
	if v == "" {
		return nil
	}
	return strings.Split(v, ",")
}

func number(v string) int {
	n, _ := strconv.Atoi(v)
	return n
}

// nodes reads n1.1,n2.1 .
func nodes(v string) (ns []Node) {
	for _, s := range listed(v) {
		name, inc, _ := strings.Cut(s, ".")
		ns = append(ns, Node{name, uint64(number(inc))})
	}
	return ns
}

func (s *script) run(line string) string {
	words := strings.Fields(line)
	args := make(map[string]string)
	for _, w := range words[1:] {
		k, v, _ := strings.Cut(w, "=")
		args[k] = v
	}
	spec := TopicSpec{Name: args["name"], ReadQueues: 2, WriteQueues: 2, Perm: 6, Order: args["order"] == "true"}
	if v, ok := args["read"]; ok {
		spec.ReadQueues = int32(number(v))
	}
	if v, ok := args["write"]; ok {
		spec.WriteQueues = int32(number(v))
	}
	for _, id := range listed(args["slots"]) {
		spec.Slots = append(spec.Slots, number(id))
	}
	if a, ok := args["attributes"]; ok {
		spec.Attributes = map[string]string{"message.type": a}
	}
	switch words[0] {
	case "show":
		return s.show()
	case "restart":
		state, _ := s.c.Checkpoint()
		index, term := s.c.Applied()
		s.open(state)
		again, _ := s.c.Checkpoint()
		require.Equal(s.t, state, again)
		fresh, err := OpenCatalogue(nil)
		require.NoError(s.t, err)
		changed := fresh.Changed()
		require.NoError(s.t, fresh.Restore(state, index, term))
		<-changed
		installed, _ := fresh.Checkpoint()
		require.Equal(s.t, state, installed)
		require.ErrorIs(s.t, fresh.Restore(state, index+1, term), ErrState)
		return "ok\n"
	case "follow":
		other, err := OpenCatalogue(nil)
		require.NoError(s.t, err)
		_, err = other.Apply(s.entries)
		require.NoError(s.t, err)
		a, _ := s.c.Checkpoint()
		b, _ := other.Checkpoint()
		require.Equal(s.t, a, b)
		return "ok\n"
	case "bootstrap":
		var slots []Slot
		for i, r := range strings.Split(args["replicas"], "/") {
			slots = append(slots, Slot{ID: i, Replicas: listed(r)})
		}
		return s.do(EncodeBootstrap(nil, args["cluster"], slots, nodes(args["nodes"])))
	case "create-topic":
		return s.do(EncodeCreateTopic(nil, spec))
	case "update-topic":
		return s.do(EncodeUpdateTopic(nil, spec))
	case "delete-topic":
		return s.do(EncodeDeleteTopic(nil, args["name"]))
	case "put-group":
		g := NewGroup(args["name"])
		if v, ok := args["max"]; ok {
			g.RetryMaxTimes = int32(number(v))
		}
		return s.do(EncodePutGroup(nil, g))
	case "delete-group":
		return s.do(EncodeDeleteGroup(nil, args["name"]))
	case "subscribe":
		return s.do(EncodeSubscribe(nil, args["group"], listed(args["topics"])))
	case "put-kv":
		return s.do(EncodePutKV(nil, args["ns"], args["key"], args["value"]))
	case "delete-kv":
		return s.do(EncodeDeleteKV(nil, args["ns"], args["key"]))
	case "put-node":
		return s.do(EncodePutNode(nil, nodes(args["node"])[0]))
	case "replace-node":
		return s.do(EncodeReplaceNode(nil, nodes(args["node"])[0], uint64(number(args["folder"]))))
	case "settle-node":
		return s.do(EncodeSettleNode(nil, nodes(args["node"])[0]))
	case "put-slot":
		return s.do(EncodePutSlot(nil, Slot{ID: number(args["id"]), Replicas: listed(args["replicas"]), Version: uint64(number(args["version"]))}))
	case "level":
		return s.do(EncodeFeatureLevel(nil, uint64(number(args["to"]))))
	case "noop":
		return s.apply(&raft.Log{Type: raft.LogNoop})
	}
	s.t.Fatalf("unknown command %q", line)
	return ""
}

func (s *script) do(cmd []byte) string { return s.apply(&raft.Log{Type: raft.LogCommand, Data: cmd}) }

func (s *script) apply(l *raft.Log) string {
	s.t.Helper()
	last, _ := s.c.Applied()
	l.Index, l.Term = last+1, 1
	s.entries = append(s.entries, l)
	changed, version := s.c.Changed(), s.c.Version()
	res, err := s.c.Apply([]*raft.Log{l})
	require.NoError(s.t, err)
	select {
	case <-changed:
		require.Equal(s.t, version+1, s.c.Version())
	default:
		require.Equal(s.t, version, s.c.Version())
	}
	if l.Type != raft.LogCommand {
		require.Nil(s.t, res[0])
		return "ok\n"
	}
	r := res[0].(CatalogueResult)
	switch {
	case r.Err != nil:
		require.False(s.t, r.Changed)
		return fmt.Sprintf("refused: %v\n", r.Err)
	case !r.Changed:
		return "unchanged\n"
	}
	return fmt.Sprintf("version %d\n", r.Version)
}

func (s *script) show() string {
	var b strings.Builder
	c := s.c
	fmt.Fprintf(&b, "cluster %q version %d level %d\n", c.ClusterID(), c.Version(), c.FeatureLevel())
	for _, n := range c.Nodes() {
		fmt.Fprintf(&b, "node %s.%d", n.Name, n.Incarnation)
		if l, ok := c.Lives()[n.Name]; ok {
			fmt.Fprintf(&b, " folder %d settled %t", l.Folder, l.Settled)
		}
		b.WriteString("\n")
	}
	for _, x := range c.Slots() {
		fmt.Fprintf(&b, "slot %d %v version %d\n", x.ID, x.Replicas, x.Version)
	}
	for _, t := range c.Topics() {
		attributes, _ := json.Marshal(t.Attributes)
		fmt.Fprintf(&b, "topic %s read %d write %d perm %d order %t attributes %s version %d\n", t.Name, t.ReadQueues, t.WriteQueues, t.Perm, t.Order, attributes, t.Version)
		for _, p := range t.Partitions {
			known, ok := c.Partition(p.ID)
			require.True(s.t, ok)
			require.Equal(s.t, p, known)
			fmt.Fprintf(&b, "  partition %d slot %d number %d voters %v\n", p.ID, p.Slot, p.Number, p.Voters)
		}
	}
	for _, g := range c.Groups() {
		fmt.Fprintf(&b, "group %s max %d topics %v version %d\n", g.Name, g.RetryMaxTimes, g.Topics, g.Version)
		slots := make([]int, 0, len(g.Retry))
		for slot := range g.Retry {
			slots = append(slots, slot)
		}
		sort.Ints(slots)
		for _, slot := range slots {
			fmt.Fprintf(&b, "  retry slot %d %v\n", slot, g.Retry[slot])
		}
	}
	for ns, kvs := range c.s.KV {
		require.Equal(s.t, kvs, c.KV(ns))
	}
	namespaces := make([]string, 0)
	for ns := range c.s.KV {
		namespaces = append(namespaces, ns)
	}
	slices.Sort(namespaces)
	for _, ns := range namespaces {
		keys := make([]string, 0)
		for k := range c.KV(ns) {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			fmt.Fprintf(&b, "kv %s %s=%s\n", ns, k, c.KV(ns)[k])
		}
	}
	n := 0
	for _, t := range c.Topics() {
		n += len(t.Partitions)
	}
	require.Len(s.t, c.Partitions(), n)
	return b.String()
}

// A value that was read stays as it was, whatever comes after it.
func TestCatalogueValuesNeverChange(t *testing.T) {
	s := &script{t: t}
	s.open(nil)
	for _, line := range []string{"bootstrap cluster=c nodes=n1.1 replicas=n1/n1", "create-topic name=a", "subscribe group=g topics=a", "put-kv ns=n key=k value=1"} {
		s.run(line)
	}
	state, _ := s.c.Checkpoint()
	group, _ := s.c.Group("g")
	topic, _ := s.c.Topic("a")
	slots, kvs, members := s.c.Slots(), s.c.KV("n"), s.c.Nodes()
	for _, line := range []string{"put-node node=n2.1", "put-slot id=0 version=1 replicas=n2,n1", "create-topic name=b", "subscribe group=g topics=b",
		"update-topic name=a read=5", "put-kv ns=n key=k value=2", "put-kv ns=n key=l value=2", "delete-topic name=a"} {
		require.Contains(t, s.run(line), "version", line)
	}
	old, err := OpenCatalogue(state)
	require.NoError(t, err)
	was, _ := old.Group("g")
	require.Equal(t, was, group)
	wasTopic, _ := old.Topic("a")
	require.Equal(t, wasTopic, topic)
	require.Equal(t, old.Slots(), slots)
	require.Equal(t, old.KV("n"), kvs)
	require.Equal(t, old.Nodes(), members)
}

// A replica that came to differ is given another's state of the same entry, and of no other,
// nor one that is not what was compared.
func TestACatalogueIsMendedAtItsEntry(t *testing.T) {
	open := func(topics ...string) *Catalogue {
		c, err := OpenCatalogue(nil)
		require.NoError(t, err)
		cmds := [][]byte{EncodeBootstrap(nil, "c", []Slot{{ID: 0, Replicas: []string{"n1"}}}, []Node{{Name: "n1", Incarnation: 1}})}
		for _, name := range topics {
			cmds = append(cmds, EncodeCreateTopic(nil, TopicSpec{Name: name, ReadQueues: 1, WriteQueues: 1, Perm: 6}))
		}
		for i, cmd := range cmds {
			res, err := c.Apply([]*raft.Log{{Index: uint64(i + 1), Term: 1, Type: raft.LogCommand, Data: cmd}})
			require.NoError(t, err)
			require.NoError(t, res[0].(CatalogueResult).Err)
		}
		return c
	}
	sound, other, behind := open("a", "b"), open("a", "x"), open("a")
	index, want := sound.Digest()
	at, got := other.Digest()
	require.Equal(t, index, at)
	require.NotEqual(t, want, got)
	_, state := sound.State()
	changed := other.Changed()
	require.ErrorIs(t, other.Mend(state, index, want+1), ErrState)
	require.ErrorIs(t, behind.Mend(state, index, want), ErrOrder)
	require.ErrorIs(t, other.Mend(state, index+1, want), ErrOrder)
	_, still := other.Digest()
	require.Equal(t, got, still)
	require.NoError(t, other.Mend(state, index, want))
	_, got = other.Digest()
	require.Equal(t, want, got)
	<-changed
	p, ok := other.Topic("b")
	require.True(t, ok)
	_, ok = other.Partition(p.Partitions[0].ID)
	require.True(t, ok)
}
