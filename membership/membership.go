// Package membership says who is alive, where, and who leads what, by gossip.
//
// A node describes itself in one record, which only it writes and whose number
// only grows. Records travel whole: to every member at once when they change, and
// with memberlist's push/pull in case that was missed. What gossip says may be
// late; what must be right asks Raft.
package membership

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"maps"
	"net"
	"slices"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"

	"raftmq/internal/vfs"
)

// Config is how a member is opened.
type Config struct {
	Self      Node
	Bind      string // host:port; port 0 picks one
	Advertise string // host that others are told; "": Bind's
	Cluster   string // members of another cluster are not heard
	Key       []byte // 16, 24 or 32 bytes: encrypts; nil: plain
	Dir       string // where the last known peers are kept; "": nowhere
	Disk      vfs.FS // that has it; nil: the real one
	Logger    hclog.Logger
	Now       func() time.Time // nil: time.Now
	// Via is where packets and connections to another member's address go in place of
	// there; nil: there.
	Via func(addr string) string
	// Net is another network than the machine's; nil: that. Via does not count then.
	Net Net
}

// Members is this node's view of the cluster. Safe for concurrent use.
type Members struct {
	list    *memberlist.Memberlist
	log     hclog.Logger
	dir     string
	disk    vfs.FS
	stop    chan struct{}
	wg      sync.WaitGroup
	tellers tellers
	send    chan struct{} // this node's record changed
	keep    chan struct{} // known changed
	closing sync.Once
	closed  error      // of the shutdown
	leaving sync.Mutex // held by a leave: memberlist panics if it is shut down meanwhile

	mu      sync.RWMutex
	at      string // where others join this node: host:port
	self    record
	records map[string]record // of others, dead ones too
	bytes   int               // of records, encoded
	// overfull: a record was not kept for its size, and that was told.
	overfull bool
	alive    map[string]*memberlist.Node // copies: memberlist changes its own under a lock of its own
	leaders  map[uint64][]leader         // who says so of a partition, each node once
	known    map[string]string           // name to gossip address, of others, of earlier lives too
	later    map[string]int              // name to the format of its records, where that is not read
	changed  chan struct{}
}

type leader struct {
	node string
	term uint64
}

const (
	probeInterval = 300 * time.Millisecond
	probeTimeout  = 150 * time.Millisecond
	rejoinEvery   = time.Second
	rejoinAtOnce  = 16              // peers that are called
	tellTimeout   = 2 * time.Second // one peer's TCP connection
)

// Open starts to gossip. It joins the peers it knew in its last life by itself;
// see Join for the first time.
func Open(c Config) (*Members, error) {
	m := &Members{
		log: c.Logger, dir: c.Dir, disk: c.Disk, stop: make(chan struct{}), send: make(chan struct{}, 1), keep: make(chan struct{}, 1), known: make(map[string]string),
		records: make(map[string]record), alive: make(map[string]*memberlist.Node), leaders: make(map[uint64][]leader), later: make(map[string]int), changed: make(chan struct{}),
	}
	if m.log == nil {
		m.log = hclog.NewNullLogger()
	}
	if m.disk == nil {
		m.disk = vfs.OS{}
	}
	host, portText, err := net.SplitHostPort(c.Bind)
	if err != nil {
		return nil, fmt.Errorf("membership: bind %q: %w", c.Bind, err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("membership: bind %q: %w", c.Bind, err)
	}
	mc := memberlist.DefaultLANConfig()
	mc.Name = c.Self.Name
	mc.BindAddr, mc.BindPort = host, port
	mc.AdvertisePort = port
	if c.Advertise != "" {
		ip, err := resolve(c.Advertise)
		if err != nil {
			return nil, fmt.Errorf("membership: advertised address: %w", err)
		}
		mc.AdvertiseAddr = ip
	}
	if ip, err := resolve(host); err == nil {
		mc.BindAddr = ip
	}
	mc.Label = c.Cluster
	mc.SecretKey = c.Key
	// memberlist waits six times longer when no other node confirms a suspicion,
	// and probes up to eight times slower when its own probes go unanswered. Both
	// happen at once when two of three nodes die: measured 6.5 s until they were
	// out, against 1.4 s for one. With neither, two take as long as one.
	mc.ProbeInterval, mc.ProbeTimeout, mc.SuspicionMult = probeInterval, probeTimeout, 4
	mc.SuspicionMaxTimeoutMult, mc.AwarenessMaxMultiplier = 1, 1
	mc.GossipInterval, mc.PushPullInterval = 100*time.Millisecond, 5*time.Second
	mc.TCPTimeout = tellTimeout
	mc.EnableCompression = false         // it takes a table of 64 KiB for each packet, nearly all of which are short probes
	mc.DeadNodeReclaimTime = time.Second // a node comes back with another address
	mc.Delegate, mc.Events = delegate{m}, delegate{m}
	mc.Logger = log.New(&seldom{out: m.log.StandardWriter(&hclog.StandardLoggerOptions{InferLevels: true}), told: make(map[string]time.Time)}, "", 0)
	now := c.Now
	if now == nil {
		now = time.Now
	}
	m.self = record{V: recordVersion, Seq: uint64(now().UnixNano()), Node: c.Self}
	switch {
	case c.Net != nil:
		if err := openOver(mc, c.Net); err != nil {
			return nil, fmt.Errorf("membership: %w", err)
		}
	case c.Via != nil:
		if err := openVia(mc, c.Via); err != nil {
			return nil, fmt.Errorf("membership: %w", err)
		}
	}
	if m.list, err = memberlist.Create(mc); err != nil {
		if mc.Transport != nil {
			mc.Transport.Shutdown()
		}
		return nil, fmt.Errorf("membership: %w", err)
	}
	m.mu.Lock()
	m.at = m.list.LocalNode().Address()
	m.self.Node.Gossip = m.at
	m.self.Seq++ // a peer may have asked already
	m.mu.Unlock()
	earlier := m.readPeers()
	if earlier == nil {
		return nil, errors.Join(errors.New("membership: no more files may be open, or there is no memory, to read the known peers"), m.Close())
	}
	m.mu.Lock()
	for name, at := range earlier {
		if m.known[name] == "" { // else it was heard of meanwhile
			m.known[name] = at
		}
	}
	m.mu.Unlock()
	m.wg.Go(m.spread)
	m.wg.Go(m.keepPeers)
	m.wg.Go(m.rejoin)
	return m, nil
}

func resolve(host string) (string, error) {
	if net.ParseIP(host) != nil {
		return host, nil
	}
	a, err := net.ResolveIPAddr("ip", host)
	if err != nil {
		return "", err
	}
	return a.IP.String(), nil
}

// Addr is the address at which others can join: host:port.
func (m *Members) Addr() string { return m.at }

// Join contacts the given gossip addresses and returns how many answered. It is
// an error only if none did.
func (m *Members) Join(addrs []string) (int, error) {
	others := slices.DeleteFunc(slices.Clone(addrs), func(a string) bool { return a == m.Addr() })
	if len(others) == 0 {
		return 0, nil
	}
	return m.list.Join(others)
}

// Nodes returns the nodes that are alive, this one included, by name.
func (m *Members) Nodes() []Node {
	m.mu.RLock()
	defer m.mu.RUnlock()
	ns := []Node{m.self.Node}
	for name, r := range m.records {
		if m.alive[name] != nil {
			ns = append(ns, r.Node)
		}
	}
	sort.Slice(ns, func(i, j int) bool { return ns[i].Name < ns[j].Name })
	return ns
}

// Node returns what is known of a node, alive or not.
func (m *Members) Node(name string) (Node, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if name == m.self.Node.Name {
		return m.self.Node, true
	}
	r, ok := m.records[name]
	return r.Node, ok
}

// Announce says which partitions this node leads now, all of them.
func (m *Members) Announce(leads []Lead) {
	leads = slices.Clone(leads)
	slices.SortFunc(leads, func(a, b Lead) int { return cmp.Compare(a.Partition, b.Partition) })
	m.mu.Lock()
	if slices.Equal(leads, m.self.Leads) {
		m.mu.Unlock()
		return
	}
	before := m.self
	m.self.Seq++
	m.self.Leads = leads
	m.learnLocked(before, m.self)
	m.mu.Unlock()
	m.tell()
}

// Update changes what this node says of itself.
func (m *Members) Update(f func(*Node)) {
	m.mu.Lock()
	m.self.Seq++
	f(&m.self.Node)
	m.changedLocked()
	m.mu.Unlock()
	m.tell()
}

// Leader returns the node that says that it leads the partition: the highest term
// counts. A node that says so no more does not, nor does one that may not, by may; nil: all
// may.
func (m *Members) Leader(partition uint64, may func(node string) bool) (node string, term uint64, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, l := range m.leaders[partition] {
		if (!ok || l.term > term) && (may == nil || may(l.node)) {
			node, term, ok = l.node, l.term, true
		}
	}
	return node, term, ok
}

// Changed returns a channel that closes at the next change of nodes or leaders.
func (m *Members) Changed() <-chan struct{} {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.changed
}

func (m *Members) changedLocked() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// learnLocked takes over a record's leads, in place of those of the node's record before.
func (m *Members) learnLocked(before, r record) {
	name := r.Node.Name
	for _, l := range before.Leads { // it leads no more, or the partition is gone
		if left := slices.DeleteFunc(m.leaders[l.Partition], func(x leader) bool { return x.node == name }); len(left) > 0 {
			m.leaders[l.Partition] = left
		} else {
			delete(m.leaders, l.Partition)
		}
	}
	for _, l := range r.Leads {
		said := m.leaders[l.Partition]
		if !slices.ContainsFunc(said, func(x leader) bool { return x.node == name }) {
			m.leaders[l.Partition] = append(said, leader{name, l.Term})
		}
	}
	m.changedLocked()
}

// hear takes a record that came from a peer.
func (m *Members) hear(r record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := r.Node.Name
	if name == m.self.Node.Name {
		if r.Node.Incarnation > m.self.Node.Incarnation {
			return // this node's next life, or one whose data was lost: there is nothing to say against it
		}
		if r.Seq > m.self.Seq {
			// An earlier life of this node, whose clock was ahead of ours: say it
			// again under a number that counts.
			m.self.Seq = r.Seq + 1
			m.tell()
		}
		return
	}
	old, ok := m.records[name]
	if name == "" || ok && !r.after(old) || !ok && len(m.records) >= maxRecords {
		return
	}
	b, err := json.Marshal(r)
	if r.bytes = len(b); err != nil || m.bytes-old.bytes+r.bytes > maxRecordsBytes {
		if !m.overfull {
			m.log.Warn("record not kept: those of all nodes together are too large to be passed on", "node", name, "bytes", r.bytes, "kept", m.bytes, "error", err)
		}
		m.overfull = true
		return
	}
	m.overfull = false
	m.bytes += r.bytes - old.bytes
	m.records[name] = r
	m.learnLocked(old, r)
	if at := r.Node.Gossip; m.known[name] != at && isPeer(name, at) {
		m.known[name] = at
		select {
		case m.keep <- struct{}{}:
		default:
		}
	}
}

// passOver says once that a node's records cannot be read.
func (m *Members) passOver(r record, why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.later[r.Node.Name] == r.V || len(m.later) >= maxRecords {
		return
	}
	m.later[r.Node.Name] = r.V
	m.log.Warn("record passed over", "node", r.Node.Name, "error", why)
}

func (m *Members) tell() {
	select {
	case m.send <- struct{}{}:
	default:
	}
}

// spread sends this node's record to every member when it has changed, to all at
// once: one that is dead and not yet known to be must not keep a new leader from
// the others.
func (m *Members) spread() {
	for {
		select {
		case <-m.send:
		case <-m.stop:
			return
		}
		m.mu.RLock()
		b, err := json.Marshal(m.self)
		others := slices.Collect(maps.Values(m.alive))
		m.mu.RUnlock()
		if err != nil {
			m.log.Error("encode own record", "error", err)
			continue
		}
		for _, n := range others {
			if n.Name == m.self.Node.Name {
				continue
			}
			m.tellers.to(n.Name, b, func(b []byte) {
				if err := m.list.SendReliable(n, b); err != nil {
					m.log.Debug("send own record", "node", n.Name, "error", err) // push/pull brings it
				}
			})
		}
	}
}

// rejoin keeps calling the peers that were known and are not alive: those of an
// earlier life, and those on the other side of a cut that lasted longer than
// memberlist remembers the dead.
func (m *Members) rejoin() {
	for {
		m.mu.RLock()
		var missing []string
		for name, at := range m.known {
			if m.alive[name] == nil && at != m.self.Node.Gossip {
				missing = append(missing, at)
			}
		}
		m.mu.RUnlock()
		slices.Sort(missing)
		m.call(missing)
		select {
		case <-time.After(rejoinEvery):
		case <-m.stop:
			return
		}
	}
}

// call calls peers, some at once: one that does not answer takes seconds, and there may be many, whom
// strangers have made up.
func (m *Members) call(peers []string) {
	var wg sync.WaitGroup
	defer wg.Wait()
	some := make(chan struct{}, rejoinAtOnce)
	for _, at := range peers {
		select {
		case <-m.stop:
			return
		case some <- struct{}{}:
		}
		wg.Go(func() {
			defer func() { <-some }()
			m.list.Join([]string{at}) // whoever does not answer is asked again
		})
	}
}

// leaveWait bounds how long Leave waits for another to have heard.
const leaveWait = time.Second

// Leave tells the others that this node goes on purpose. It returns when one has
// heard, or when ctx ends.
func (m *Members) Leave(ctx context.Context) error {
	wait := leaveWait
	if d, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(d))
	}
	left := make(chan error, 1)
	m.mu.Lock()
	if m.stopped() {
		m.mu.Unlock()
		return errClosed
	}
	m.wg.Go(func() { // memberlist knows no context
		m.leaving.Lock()
		defer m.leaving.Unlock()
		if m.stopped() {
			left <- errClosed
			return
		}
		left <- m.list.Leave(wait)
	})
	m.mu.Unlock()
	select {
	case err := <-left:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close ends all goroutines. It may be called again, and from several at once:
// each returns when all is gone.
func (m *Members) Close() error {
	m.closing.Do(func() {
		m.mu.Lock()
		close(m.stop)
		m.mu.Unlock()
		m.leaving.Lock()
		m.closed = m.list.Shutdown()
		m.leaving.Unlock()
		m.wg.Wait()
		m.tellers.wait()
	})
	return m.closed
}

var errClosed = errors.New("membership: closed")

func (m *Members) stopped() bool {
	select {
	case <-m.stop:
		return true
	default:
		return false
	}
}

// delegate is what memberlist calls.
type delegate struct{ m *Members }

func (d delegate) NodeMeta(int) []byte             { return nil }
func (d delegate) GetBroadcasts(int, int) [][]byte { return nil }

func (d delegate) NotifyMsg(b []byte) {
	r, err := decodeRecord(b)
	switch {
	case errors.Is(err, errLater):
		d.m.passOver(r, err)
	case err != nil:
		d.m.log.Warn("malformed record", "bytes", len(b), "error", err)
	default:
		d.m.hear(r)
	}
}

func (d delegate) LocalState(bool) []byte {
	d.m.mu.RLock()
	defer d.m.mu.RUnlock()
	all := []record{d.m.self}
	for _, r := range d.m.records {
		all = append(all, r)
	}
	b, err := json.Marshal(all)
	if err != nil {
		d.m.log.Error("encode records", "error", err)
		return nil
	}
	return b
}

func (d delegate) MergeRemoteState(b []byte, _ bool) {
	var all []json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil || len(all) > maxRecords+1 { // the sender's own, and what it keeps of others
		d.m.log.Warn("malformed records", "bytes", len(b), "records", len(all), "error", err)
		return
	}
	for _, b := range all {
		d.NotifyMsg(b)
	}
}

func (d delegate) NotifyJoin(n *memberlist.Node) {
	d.lives(n)
	d.m.tell()
}

func (d delegate) NotifyUpdate(n *memberlist.Node) { d.lives(n) }

func (d delegate) NotifyLeave(n *memberlist.Node) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	delete(d.m.alive, n.Name)
	d.m.changedLocked()
}

// lives notes where a member is. memberlist holds its lock while it calls, and
// changes n later on.
func (d delegate) lives(n *memberlist.Node) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	d.m.alive[n.Name] = &memberlist.Node{Name: n.Name, Addr: slices.Clone(n.Addr), Port: n.Port}
	d.m.changedLocked()
}
