package mutant

// Mutant is one seeded bug and what must find it.
type Mutant struct {
	Name     string
	Bug      string // in words
	File     string // of the source tree
	Old, New string // Old is there exactly once
	Nemesis  string // that brings it out
	Property string // by its id in package check, that must not be valid
	Unknown  bool   // the property is to be unknown, not invalid: a bug of the suite itself
}

// All are the mutants, in the order of the scoreboard.
var All = []Mutant{
	{
		Name: "duplicate-stored", Bug: "a send that is tried again is stored again", Nemesis: "kill", Property: "P6",
		File: "fsm/dedup.go", Old: "if s, first := w.seen(p, n); s != Stored {", New: "if s, first := w.seen(p, n); s != Stored && s != Duplicate {",
	},
	{
		Name: "duplicate-elsewhere", Bug: "a send that is tried again gets the receipt of the place behind it", Nemesis: "kill", Property: "P1",
		File: "fsm/dedup.go", Old: "return Duplicate, w.runs[i].off + message.Offset(p.Sequence-w.runs[i].seq)", New: "return Duplicate, w.runs[i].off + message.Offset(p.Sequence-w.runs[i].seq) + 1",
	},
	{
		Name: "own-clock", Bug: "each replica stamps records by its own clock", Nemesis: "kill", Property: "P16",
		File: "fsm/records.go", Old: "first, err := m.store.Append(e, m.now, stored)", New: "first, err := m.store.Append(e, m.now+time.Now().UnixMicro()%1000, stored)",
	},
	{
		Name: "unknown-is-no", Bug: "a send whose outcome is not known is called certainly not stored", Nemesis: "kill", Property: "P2",
		File: "client/lane.go", Old: `fail(batch, fmt.Errorf("%w: %w", ErrUncertain, err))`, New: "fail(batch, err)",
	},
	{
		Name: "pull-skips", Bug: "after a pull of several messages a consumer is sent on too far", Nemesis: "kill", Property: "P7",
		File: "broker/pull.go", Old: "remoting.PullReply{NextBeginOffset: int64(batch.Next), ", New: "remoting.PullReply{NextBeginOffset: int64(batch.Next) + int64(batch.Count/2), ",
	},
	{
		Name: "batch-torn", Bug: "the last message of a batch does not leave", Nemesis: "kill", Property: "P15",
		File: "client/lane.go", Old: "for _, m := range u.msgs {\n			body =", New: "for _, m := range u.msgs[:max(1, len(u.msgs)-1)] {\n			body =",
	},
	{
		Name: "commits-ahead", Bug: "a consumer commits what it holds, not what it has handled", Nemesis: "kill", Property: "P9",
		File: "client/claim.go", Old: "if len(cl.held) > 0 {\n		return cl.held[0].d.Offset", New: "if false {\n		return cl.held[0].d.Offset",
	},
	{
		Name: "idle-nemesis", Bug: "the suite pauses nobody", Nemesis: "pause", Property: "faults", Unknown: true,
		File: "jepsen/cluster/node.go", Old: "n.signal(syscall.SIGSTOP, true)", New: "n.signal(syscall.SIGCONT, true)",
	},
	{
		Name: "blind-dump", Bug: "the suite reads one replica twice, and another not at all", Nemesis: "kill", Property: "P1", Unknown: true,
		File: "jepsen/run/final.go", Old: "for _, n := range r.cluster.Nodes {\n		for _, t := range r.topics() {\n			r.dump(", New: "for _, n := range []*cluster.Node{r.cluster.Nodes[0], r.cluster.Nodes[0], r.cluster.Nodes[1]} {\n		for _, t := range r.topics() {\n			r.dump(",
	},
}
