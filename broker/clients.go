package broker

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"raftmq/message"
	"raftmq/remoting"
)

// maxClientID bounds a client's id in bytes, as fsm does.
const maxClientID = 255

// clientInfo is one connected client.
type clientInfo struct {
	ID       string
	Addr     string
	Language string
	Version  int32
	Producer []string                         `json:",omitempty"`
	Consumer map[string]remoting.ConsumerData `json:",omitempty"` // by group
	// Until is when a client that is away is given up, in unix ms of the cluster's time; 0: it is connected.
	Until int64 `json:",omitempty"`

	bytes int // in a list, about
}

// key tells clients apart. One has a connection per address, and each may name
// other groups.
func (i clientInfo) key() string {
	return i.ID + "\x00" + strings.Join(i.Producer, ",") + "\x00" + strings.Join(slices.Sorted(maps.Keys(i.Consumer)), "\x00")
}

// registry knows the cluster's clients.
type registry struct {
	b       *Broker
	began   time.Time
	changed chan struct{}

	mu    sync.RWMutex
	conns map[*remoting.ServerConn]clientInfo
	bytes int                                // of conns
	beats map[*remoting.ServerConn]time.Time // of the last heartbeat
	ids   map[string][]*remoting.ServerConn  // the connections here by client
	lists map[string]clientList              // of other nodes
	away  map[string]clientInfo              // were connected to a node's earlier life
	left  map[string]time.Time               // ids that closed their last connection here
	used  map[string]struct{}                // groups whose members changed since they were looked at; see idleness
	gone  map[string]time.Time               // when a node was seen dead
	// leftGroups are members that have left a group, in the order in which that was heard.
	leftGroups []leave
	heard      chan struct{} // closed at the next change of lists
	since      int64
}

func newRegistry(b *Broker) *registry {
	g := &registry{
		b: b, began: time.Now(), changed: make(chan struct{}, 1), conns: make(map[*remoting.ServerConn]clientInfo), beats: make(map[*remoting.ServerConn]time.Time), ids: make(map[string][]*remoting.ServerConn),
		lists: make(map[string]clientList), away: make(map[string]clientInfo), left: make(map[string]time.Time), used: make(map[string]struct{}),
		gone: make(map[string]time.Time), heard: make(chan struct{}),
	}
	b.transport.Handle(kindClients, g.hear)
	return g
}

// clientOf is the id that the connection's client gave.
func (g *registry) clientOf(c *remoting.ServerConn) string {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.conns[c].ID
}

// broadcasts reports whether the connection's client said that it broadcasts.
func (g *registry) broadcasts(c *remoting.ServerConn, group string) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.conns[c].Consumer[group].MessageModel == remoting.Broadcasting
}

// heartbeat answers 34: the connection's client, its producer groups, its
// consumer groups and their subscriptions.
func (g *registry) heartbeat(ctx context.Context, r *request) *remoting.Command {
	if len(r.Body) > maxClient {
		return r.refuse(remoting.InvalidParameter, "heartbeat of %d bytes, at most %d", len(r.Body), maxClient)
	}
	var h remoting.HeartbeatData
	leave, err := g.b.decode(ctx, r, &h)
	if err != nil {
		return r.failed(err)
	}
	defer leave()
	if len(h.ClientID) > maxClientID {
		return r.refuse(remoting.InvalidParameter, "client id of %d bytes, at most %d", len(h.ClientID), maxClientID)
	}
	info := clientInfo{ID: strings.Clone(h.ClientID), Addr: r.from.String(), Language: remoting.LanguageName(r.Language), Version: r.Version, Consumer: make(map[string]remoting.ConsumerData)}
	for _, p := range h.ProducerDataSet {
		info.Producer = append(info.Producer, p.GroupName)
	}
	var refusal *remoting.Command
	for _, c := range h.ConsumerDataSet {
		if err := message.CheckGroup(c.GroupName); err != nil {
			return r.failed(err)
		}
		if bad := g.checkFilters(r, c); bad != nil {
			// It is no member: else it would be given queues, and its filter would count
			// for the others.
			refusal = bad
			continue
		}
		if c.Joined == 0 {
			c.Joined = g.joined(h.ClientID, c.GroupName)
		}
		if bad := g.checkStrategy(r, c.GroupName, h.ClientID, c.Strategy, c.Joined); bad != nil && c.MessageModel != remoting.Broadcasting {
			refusal = bad
			continue
		}
		info.Consumer[c.GroupName] = c
	}
	info.bytes = listed(info)
	g.mu.Lock()
	maps.DeleteFunc(info.Consumer, func(group string, c remoting.ConsumerData) bool {
		return g.hasLeftLocked(info.ID, group, c.Joined) // this heartbeat was on its way
	})
	old := g.conns[r.conn]
	if h.WithoutSub { // heartbeat V2: the groups are as before
		info.Consumer = old.Consumer
		info.bytes = listed(info)
	}
	if more := info.bytes - old.bytes; more > 0 && g.bytes+more > maxOwn {
		g.mu.Unlock()
		return r.refuse(remoting.SystemBusy, "[OVERLOAD] what the clients of this node say of themselves takes more than %d bytes; certainly not done", maxOwn)
	}
	g.bytes += info.bytes - old.bytes
	changed := old.ID != info.ID || !sameGroups(old, info)
	g.conns[r.conn], g.beats[r.conn] = info, time.Now()
	g.renameLocked(r.conn, old.ID, info.ID)
	delete(g.left, info.ID)
	g.mu.Unlock()
	if changed {
		groups := groupsOf(old, info)
		if old.ID == info.ID && sameShares(old, info) {
			groups = nil // else each of a group's members has all others share queues anew, since Java's tell a new version whenever they have done so
		}
		g.touch(groups)
	}
	unknown := g.unknown(info)
	resend := h.WithoutSub && old.ID != info.ID
	h, info, old = remoting.HeartbeatData{}, clientInfo{}, clientInfo{}
	leave() // the rest may wait for the catalogue
	for name, topics := range unknown {
		if err := g.subscribe(ctx, name, topics); err != nil {
			g.b.log.Warn("record a group's subscription", "group", name, "error", err)
		}
	}
	if refusal != nil {
		return refusal
	}
	reply := r.ReplyWith(nil, nil)
	if resend {
		reply.SetExt("IS_SUB_CHANGE", "true") // tell all of it in the next one
	}
	return reply
}

// checkFilters refuses a group of which a filter cannot be served; nil: all can.
func (g *registry) checkFilters(r *request, c remoting.ConsumerData) *remoting.Command {
	for _, s := range c.SubscriptionDataSet {
		if remoting.IsTag(s.ExpressionType) {
			continue
		}
		if _, err := g.b.wanted(s.ExpressionType, s.SubString); err != nil {
			return r.refuseFilter(s.Topic, err)
		}
	}
	return nil
}

// unknown are the groups of a client of which the catalogue does not know all, and which topics it lacks, joined by commas.
func (g *registry) unknown(i clientInfo) map[string]string {
	all := make(map[string]string)
	for group, c := range i.Consumer {
		known, ok := g.b.catalogue.Group(group)
		var topics []string
		for _, s := range c.SubscriptionDataSet {
			if _, there := g.b.catalogue.Topic(s.Topic); there && !slices.Contains(known.Topics, s.Topic) {
				topics = append(topics, s.Topic)
			}
		}
		if !ok || len(topics) > 0 {
			slices.Sort(topics)
			all[group] = strings.Join(slices.Compact(topics), ",")
		}
	}
	return all
}

// subscribe has the catalogue know the group and its topics.
func (g *registry) subscribe(ctx context.Context, group, topics string) error {
	req := &request{Command: remoting.NewRequest(codeSubscribe, nil), slot: 0}
	req.SetExt("group", group)
	req.SetExt("topics", topics)
	if reply := g.b.admin(ctx, req); reply.Code != remoting.OK {
		return errReply{reply}
	}
	return nil
}

// unregister answers 35.
func (g *registry) unregister(r *request) *remoting.Command {
	var h remoting.UnregisterHeader
	if err := h.Decode(r.Ext); err != nil {
		return r.failed(err)
	}
	g.mu.Lock()
	info, ok := g.conns[r.conn]
	old := info
	if ok && info.ID == h.ClientID {
		info.Producer = slices.DeleteFunc(slices.Clone(info.Producer), func(p string) bool { return p == h.ProducerGroup })
		consumers := make(map[string]remoting.ConsumerData)
		for k, v := range info.Consumer {
			if k != h.ConsumerGroup {
				consumers[k] = v
			}
		}
		info.Consumer = consumers
		g.conns[r.conn] = info
	}
	g.mu.Unlock()
	changed := !sameGroups(old, info)
	if h.Joined > 0 && message.CheckGroup(h.ConsumerGroup) == nil && len(h.ClientID) <= maxClientID { // of another group there are no members
		changed = g.leaves(leave{ID: strings.Clone(h.ClientID), Group: strings.Clone(h.ConsumerGroup), Joined: h.Joined, at: time.Now(), here: true}) || changed
	}
	if changed {
		g.touch(append(groupsOf(old, info), h.ConsumerGroup))
	}
	return r.ReplyWith(nil, nil)
}

// closed forgets a connection.
func (g *registry) closed(c *remoting.ServerConn) {
	g.mu.Lock()
	old, ok := g.conns[c]
	g.bytes -= old.bytes
	delete(g.conns, c)
	delete(g.beats, c)
	g.renameLocked(c, old.ID, "")
	if ok && len(g.ids[old.ID]) == 0 {
		g.left[old.ID] = time.Now()
		g.forgetLocked(old.ID)
	}
	g.mu.Unlock()
	if ok {
		g.touch(groupsOf(old, clientInfo{}))
	}
}

// silentAfter is how long a client that names groups may send no heartbeat, as in RocketMQ.
const silentAfter = 120 * time.Second

// silent are connections whose clients name groups and have sent no heartbeat for long, whatever
// else they send: a member that is alive in part would keep its queues for ever.
func (g *registry) silent(now time.Time) (conns []*remoting.ServerConn) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for c, at := range g.beats {
		if info := g.conns[c]; now.Sub(at) > silentAfter && len(info.Producer)+len(info.Consumer) > 0 {
			conns = append(conns, c)
		}
	}
	return conns
}

func sameGroups(a, b clientInfo) bool {
	if !slices.Equal(a.Producer, b.Producer) || len(a.Consumer) != len(b.Consumer) {
		return false
	}
	for k, x := range a.Consumer {
		y, ok := b.Consumer[k]
		if !ok || x.Strategy != y.Strategy || x.Joined != y.Joined || len(x.SubscriptionDataSet) != len(y.SubscriptionDataSet) {
			return false
		}
		for i := range x.SubscriptionDataSet {
			if p, q := x.SubscriptionDataSet[i], y.SubscriptionDataSet[i]; p.Topic != q.Topic || p.SubString != q.SubString || p.ExpressionType != q.ExpressionType || p.SubVersion != q.SubVersion {
				return false
			}
		}
	}
	return true
}

// sameShares reports whether a client shares the same topics' queues in the same groups: what it wants of a topic, and under
// which version, changes nothing for the other members, and does not in RocketMQ.
func sameShares(a, b clientInfo) bool {
	topics := func(c remoting.ConsumerData) (all []string) {
		for _, s := range c.SubscriptionDataSet {
			all = append(all, s.Topic)
		}
		slices.Sort(all)
		return all
	}
	return maps.EqualFunc(a.Consumer, b.Consumer, func(x, y remoting.ConsumerData) bool {
		return x.Strategy == y.Strategy && x.Joined == y.Joined && x.MessageModel == y.MessageModel && slices.Equal(topics(x), topics(y))
	})
}

func groupsOf(infos ...clientInfo) []string {
	var gs []string
	for _, i := range infos {
		for k := range i.Consumer {
			gs = append(gs, k)
		}
	}
	return gs
}

// touch spreads a change and tells the members of the groups here.
func (g *registry) touch(groups []string) {
	select {
	case g.changed <- struct{}{}:
	default:
	}
	g.notify(groups)
}

// notify tells members here to balance their queues anew (40).
func (g *registry) notify(groups []string) {
	g.use(groups)
	g.mu.RLock()
	defer g.mu.RUnlock()
	for c, info := range g.conns {
		for _, name := range groups {
			if m, ok := info.Consumer[name]; ok && m.MessageModel != remoting.Broadcasting {
				c.Send(remoting.NewOneway(remoting.NotifyConsumerIDsChanged, remoting.ConsumerGroupHeader{ConsumerGroup: name}))
			}
		}
	}
}

// notifyOf tells the members here of every group that consumes one of the topics.
func (g *registry) notifyOf(topics map[string]bool) {
	groups := make(map[string]bool)
	g.mu.RLock()
	for _, info := range g.conns {
		for name, m := range info.Consumer {
			for _, s := range m.SubscriptionDataSet {
				if topics[s.Topic] {
					groups[name] = true
				}
			}
		}
	}
	g.mu.RUnlock()
	if len(groups) > 0 {
		g.notify(slices.Collect(maps.Keys(groups)))
	}
}

// all returns the cluster's clients, one each, this node's first.
func (g *registry) all() []clientInfo { return g.those(func(clientInfo) bool { return true }) }

// membersOf are all that are in the group. Members ask for each other all the time: no list of all clients is made.
func (g *registry) membersOf(group string) []clientInfo {
	return g.those(func(i clientInfo) bool {
		_, ok := i.Consumer[group]
		return ok
	})
}

// those are all that are of a kind, which all with one key are or none.
func (g *registry) those(are func(clientInfo) bool) []clientInfo {
	seen := make(map[string]bool)
	var those []clientInfo
	g.each(func(i clientInfo) {
		if !are(i) {
			return
		}
		if key := i.key(); !seen[key] {
			seen[key] = true
			those = append(those, i)
		}
	})
	return those
}

// each calls f with what is said of the cluster's clients, this node's first; of one that is
// connected to several nodes more than once.
func (g *registry) each(f func(clientInfo)) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	now := g.b.atMs()
	some := func(i clientInfo) {
		if i.ID != "" && (i.Until == 0 || now <= i.Until) {
			f(i)
		}
	}
	for _, i := range g.conns {
		some(i)
	}
	for _, l := range g.lists {
		for _, i := range l.Clients {
			some(i)
		}
	}
	for _, i := range g.away {
		some(i)
	}
}

// subscription is what the group's members said of a topic, the latest version.
func (g *registry) subscription(group, topic string, version int64) (remoting.SubscriptionData, remoting.Code) {
	var best remoting.SubscriptionData
	found := false
	g.each(func(i clientInfo) { // a pull may ask: no list of them is made
		for _, s := range i.Consumer[group].SubscriptionDataSet {
			if s.Topic == topic && (!found || s.SubVersion > best.SubVersion) {
				best, found = s, true
			}
		}
	})
	switch {
	case !found:
		return best, remoting.SubscriptionNotExist
	case best.SubVersion < version:
		return best, remoting.SubscriptionNotLatest
	}
	return best, 0
}
