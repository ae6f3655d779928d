package broker

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"raftmq/internal/vfs"
	"raftmq/membership"
	"raftmq/message"
	"raftmq/raftlog"
	"raftmq/remoting"
	"raftmq/store"
)

// Version is what this program says it is.
const Version = "0.1.0"

// Deps are what a node touches of the world. Zero fields take the real thing.
type Deps struct {
	Logger hclog.Logger
	Disk   vfs.FS
	Now    func() time.Time
	// Dial opens connections to other nodes.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// GossipVia is where gossip for another node's address goes in place of there.
	GossipVia func(addr string) string
	// Level is the feature level that the node takes for its program's; 0: Level.
	Level uint64
	// Net is another network than the machine's, for all that the node does.
	Net membership.Net
	// Catalogue opens what keeps the catalogue's log in a folder, in place of bolt and
	// files on the machine's disk.
	Catalogue func(dir string) (CatalogueStore, error)
}

// Broker is one node.
type Broker struct {
	cfg     Config
	id      identity
	log     hclog.Logger
	raftLog hclog.Logger // quieter: one per thousand groups
	disk    vfs.FS
	now     func() time.Time
	dial    func(ctx context.Context, addr string) (net.Conn, error)

	gossipVia func(addr string) string
	level     uint64         // of the features that this program knows
	keptLevel uint64         // in the identity's file; of watchCatalogue
	net       membership.Net // nil: the machine's
	keep      func(dir string) (CatalogueStore, error)

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	kick   chan struct{} // look at the catalogue again
	leads  chan struct{} // leadership of something changed
	failed chan error
	broken atomic.Bool // failed has been told

	member   atomic.Bool   // the folder may have voted: id's incarnation is this node's
	begun    atomic.Bool   // catalogue is there, and clients are served
	starting chan struct{} // closed when begin is over, or given up; nil: Open ran it

	lock      interface{ Close() error }
	room      *diskWatch
	peers     *peerLives
	entrance  *entrance
	asked     askers
	wal       *raftlog.WAL
	transport *raftlog.Transport
	host      *raftlog.Host
	members   *membership.Members
	catalogue *catalogue
	clients   *registry
	filters   filters
	forwards  *forwarder
	seekers   seekers
	admission admission
	sick      *infirmary
	events    events
	scrubbed  scrubber
	digested  digester
	checked   catalogueCheck
	crowd     catalogueRoom
	clock     clock
	fired     atomic.Uint64 // messages whose time had come
	putBack   atomic.Uint64 // retries
	rules     placements
	placed    atomic.Uint64 // messages of stock clients that rules moved
	replies   atomic.Uint64 // that their requesters have
	// unanswered are replies whose requesters were connected nowhere.
	unanswered atomic.Uint64
	buried     atomic.Uint64 // dead letters
	tx         txCounts
	rates      *rates
	reshape    sync.Mutex // held while partitions are opened or closed; before mu
	left       leftovers
	altering   *altering
	keys       *message.UniqueKeys
	began      time.Time          // see uptime
	caught     caught             // up with the catalogue as of the start
	servers    []*remoting.Server // name server, one per slot, forwarded requests
	vip        []vipListener
	web        *web
	addrs      Addresses

	mu         sync.RWMutex
	partitions map[uint64]*partition
	locals     []*partition  // what local returns; nil: to be made
	changed    chan struct{} // closed when a partition was opened
}

// Open starts a node. It returns when the node listens; see Ready for when it
// can serve.
func Open(ctx context.Context, cfg Config, d Deps) (*Broker, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	b := &Broker{
		cfg: cfg, log: d.Logger, disk: d.Disk, now: d.Now, dial: d.Dial, gossipVia: d.GossipVia, level: cmp.Or(d.Level, Level),
		net: d.Net, keep: d.Catalogue,
		began: time.Now(), kick: make(chan struct{}, 1), entrance: newEntrance(), leads: make(chan struct{}, 1), failed: make(chan error, 1),
		partitions: make(map[uint64]*partition), changed: make(chan struct{}), admission: newAdmission(cfg), sick: newInfirmary(), altering: newAltering(), checked: catalogueCheck{verdicts: make(chan verdict, 1)},
	}
	if b.log == nil {
		b.log = hclog.NewNullLogger()
	}
	if b.disk == nil {
		b.disk = vfs.OS{}
	}
	if b.now == nil {
		b.now = time.Now
	}
	b.rates = newRates(cfg.Slots, b.now())
	if b.keep == nil {
		b.keep = b.keepInBolt
	}
	if b.dial == nil && b.net != nil {
		b.dial = b.net.Dial
	}
	if b.dial == nil {
		var nd net.Dialer
		b.dial = func(ctx context.Context, addr string) (net.Conn, error) { return nd.DialContext(ctx, "tcp", addr) }
	}
	b.raftLog = b.log.Named("raft")
	b.raftLog.SetLevel(max(b.log.GetLevel(), hclog.Warn)) // of it alone only if the logger has independent levels
	b.raftLog = newSeldom(b.raftLog)
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := b.open(); err != nil {
		c, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return nil, errors.Join(err, b.Shutdown(c))
	}
	return b, nil
}

func (b *Broker) open() error {
	var err error
	if err = vfs.MakeDir(b.disk, b.cfg.Data); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if b.lock, err = b.disk.Lock(filepath.Join(b.cfg.Data, "lock")); err != nil {
		return fmt.Errorf("data directory is in use: %w", err)
	}
	if b.room, err = b.openDisk(); err != nil {
		return err
	}
	if b.id, err = openIdentity(b.disk, b.cfg); err != nil {
		return err
	}
	if b.keptLevel = b.id.Level; b.keptLevel > b.level {
		return tooOld(b.level, b.keptLevel)
	}
	b.member.Store(b.id.Member)
	if b.peers, err = openPeerLives(b.disk, b.cfg.Data, b.id, b.cfg.InitialNodes); err != nil {
		return err
	}
	var salt [4]byte
	rand.Read(salt[:])
	b.keys = message.NewUniqueKeys(listenIP(b.cfg.Advertise), os.Getpid(), binary.BigEndian.Uint32(salt[:]), b.now)

	walDir := b.cfg.WALDir
	if walDir == "" {
		walDir = filepath.Join(b.cfg.Data, "wal")
	}
	if err := ownWAL(b.disk, walDir, b.id); err != nil {
		return err
	}
	if err := errors.Join(b.id.raise(b.disk, b.cfg), b.peers.raise()); err != nil {
		return err
	}
	if b.id.Member && !b.id.Peers { // of an earlier version
		if err := b.peers.exist(); err != nil {
			return err
		}
		b.id.Peers = true
		if err := writeIdentity(b.disk, b.cfg.Data, b.id); err != nil {
			return err
		}
	}
	opening := time.Now()
	b.wal, err = raftlog.OpenWAL(walDir, raftlog.WALOptions{
		FS: b.disk, SegmentBytes: b.cfg.WALSegmentBytes, Segments: b.cfg.WALSegments, WriteDeadline: b.cfg.WriteDeadline,
		MaxEntry: int64(b.cfg.MaxBody) + entryHead,
		Logger:   b.log.Named("wal"), OnFailure: func(err error) { b.fail(fmt.Errorf("write-ahead log: %w", err)) },
		OnDamage: b.walDamaged, OnHealed: b.walHealed, OnLost: b.fail,
	})
	if err != nil {
		return err
	}
	b.log.Info("write-ahead log is open", "groups", len(b.wal.Groups()), "after", time.Since(opening).Round(time.Millisecond))
	raftListener, err := b.listen(b.cfg.Raft)
	if err != nil {
		return err
	}
	b.addrs.Raft = b.advertised(raftListener)
	b.transport, err = raftlog.NewTransport(raftlog.TransportConfig{
		Cluster: b.cfg.Cluster, Node: b.id.Node, Incarnation: b.id.Incarnation,
		Listener: raftListener, Dial: b.dialNode, Logger: b.log.Named("transport"),
		TLS: b.cfg.PeerTLS, Folder: b.id.Folder, Level: b.level, Known: b.knows, Answered: b.answered, Unjudged: classLife,
	})
	if err != nil {
		return err
	}
	b.host = raftlog.NewHost(b.transport, b.id.Node, b.id.Incarnation, b.log.Named("host"))
	b.transport.Handle(kindSettled, b.settled)
	b.transport.Handle(kindCopy, b.copies)
	b.transport.Handle(kindSick, b.answerSick)
	b.transport.Handle(kindClock, b.answerClock)
	b.wg.Go(b.answerLives)
	b.clients = newRegistry(b)
	b.forwards = newForwarder(b)

	ns, slots, err := b.listenClients()
	if err != nil {
		return err
	}
	if err := b.openWeb(); err != nil {
		return err
	}
	b.members, err = membership.Open(membership.Config{
		Self: membership.Node{
			Name: b.id.Node, Incarnation: b.id.Incarnation, Raft: b.addrs.Raft, HTTP: b.addrs.HTTP,
			NameServer: b.addrs.NameServer, Listeners: b.addrs.Listeners, Version: Version, Level: b.level, SegmentBytes: b.cfg.SegmentBytes,
			InitialNodes: slices.Sorted(slices.Values(b.cfg.InitialNodes)),
		},
		Bind: net.JoinHostPort(b.cfg.Host, strconv.Itoa(b.cfg.Gossip)), Advertise: b.cfg.Advertise,
		Cluster: b.cfg.Cluster, Key: b.cfg.GossipKey, Dir: filepath.Join(b.cfg.Data, "gossip"), Logger: b.log.Named("gossip"),
		Disk: b.disk, Now: b.now, Via: b.gossipVia, Net: b.net,
	})
	if err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	b.addrs.Gossip = b.members.Addr()
	b.wg.Go(b.watchMembers)
	if len(b.cfg.Join) > 0 {
		b.wg.Go(b.joinOthers)
	}
	b.wg.Go(b.watchDisk)
	b.wg.Go(b.keepTime)
	if b.member.Load() {
		return b.begin(ns, slots)
	}
	b.starting = make(chan struct{})
	b.wg.Go(b.tellWait)
	go b.enter(ns, slots)
	return nil
}

// begin opens the catalogue and serves clients.
func (b *Broker) begin(ns net.Listener, slots []net.Listener) error {
	if err := b.openCatalogue(); err != nil {
		return err
	}
	b.wg.Go(b.watchCatalogue)
	b.wg.Go(b.watchQueueCounts)
	b.wg.Go(b.announce)
	b.wg.Go(b.checkpoints)
	b.wg.Go(b.retain)
	b.wg.Go(b.expireGroups)
	b.wg.Go(b.watchTimers)
	b.wg.Go(b.checkBacks)
	b.wg.Go(b.balance)
	b.wg.Go(b.keepVoters)
	b.wg.Go(b.repairs)
	b.wg.Go(b.noteQuarantines)
	if b.cfg.ScrubRate > 0 {
		b.scrubbed.rate = b.cfg.ScrubRate
		b.wg.Go(b.scrub)
	}
	if b.cfg.DigestInterval > 0 {
		b.wg.Go(b.compareDigests)
	}
	b.wg.Go(b.clients.run)
	b.wg.Go(b.catchUps)
	b.wg.Go(b.sampleRates)
	b.serve(ns, slots)
	b.begun.Store(true)
	return nil
}

// watchMembers keeps links to all nodes that gossip knows.
func (b *Broker) watchMembers() {
	for {
		changed := b.members.Changed()
		var peers []string
		for _, n := range b.members.Nodes() {
			if n.Name != b.id.Node {
				peers = append(peers, n.Name)
			}
		}
		b.transport.SetPeers(peers)
		select {
		case <-changed:
		case <-b.ctx.Done():
			return
		}
	}
}

// joinSilent is how long nobody may answer at the addresses of join before that is told.
const joinSilent = 10 * time.Second

// joinOthers calls the addresses of join, each of which may take its time, until one has answered, and
// again when no other node is there.
func (b *Broker) joinOthers() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	joined, told, since := false, false, time.Now()
	silent := slices.Clone(b.cfg.Join) // have not answered yet
	for {
		if joined = joined && len(b.members.Nodes()) > 1; !joined || len(silent) > 0 && b.foundsAlone() {
			var failed error
			for _, at := range b.cfg.Join {
				n, err := b.members.Join([]string{at})
				joined, failed = joined || n > 0, errors.Join(failed, err)
				if err == nil && slices.Contains(silent, at) {
					if silent = slices.DeleteFunc(silent, func(a string) bool { return a == at }); len(silent) == 0 {
						close(b.entrance.joined)
					}
				}
				if b.ctx.Err() != nil {
					return
				}
			}
			switch {
			case joined:
				told, since = false, time.Now()
			case !told && failed != nil && time.Since(since) > joinSilent:
				told = true
				b.log.Warn("nobody answers at the addresses of join; they are called again", "join", b.cfg.Join, "error", failed)
			}
		}
		select {
		case <-tick.C:
		case <-b.ctx.Done():
			return
		}
	}
}

// Bounds of what a restart replays.
const (
	checkpointEvery = 5 * time.Second
	entryHead       = 64 << 10 // more than an entry of one message has beside its body
)

// checkpoints keeps restarts short.
func (b *Broker) checkpoints() {
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-b.ctx.Done():
			return
		}
		for _, p := range b.local() {
			if p.log.Bytes() < b.cfg.CheckpointBytes {
				continue
			}
			switch err := p.replica.Checkpoint(); {
			case err == nil, errors.Is(err, raftlog.ErrClosed), errors.Is(err, vfs.ErrNoSpace), b.ctx.Err() != nil:
			case errors.Is(err, store.ErrDamaged): // it cannot go on, and waits to be repaired: see halted
			default:
				b.fail(fmt.Errorf("checkpoint of partition %d: %w", p.desc.ID, err))
			}
		}
	}
}

// local returns the partitions that are open here, by their id; it is shared, and not to be changed.
func (b *Broker) local() []*partition {
	b.mu.RLock()
	ps := b.locals
	b.mu.RUnlock()
	if ps != nil {
		return ps
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	ps = make([]*partition, 0, len(b.partitions))
	for _, p := range b.partitions {
		ps = append(ps, p)
	}
	slices.SortFunc(ps, func(x, y *partition) int { return cmp.Compare(x.desc.ID, y.desc.ID) })
	b.locals = ps
	return ps
}

func (b *Broker) partition(id uint64) (*partition, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	p, ok := b.partitions[id]
	return p, ok
}

func (b *Broker) opened() {
	b.mu.Lock()
	close(b.changed)
	b.changed = make(chan struct{})
	b.mu.Unlock()
}

// Addresses returns where the node listens.
func (b *Broker) Addresses() Addresses { return b.addrs }

// Failed delivers the error after which the node must not go on: a disk that
// failed, a state that could not be applied, or raftlog.ErrWALDamaged: then Shutdown
// still hands leadership over.
func (b *Broker) Failed() <-chan error { return b.failed }

func (b *Broker) fail(err error) {
	b.log.Error("node must stop", "error", err)
	if !errors.Is(err, raftlog.ErrWALDamaged) {
		b.broken.Store(true)
	}
	select {
	case b.failed <- err:
	default:
	}
}

// stopServers stops all servers side by side: a client of one that does not read what it is
// sent takes no time from those of the others.
func (b *Broker) stopServers(ctx context.Context) error {
	var wg sync.WaitGroup
	errs := make([]error, len(b.servers))
	for i, s := range b.servers {
		wg.Go(func() {
			if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// letGo has those let go, until done, who wait for replicas without room: they would keep the servers
// from stopping for as long as they may.
func (b *Broker) letGo(done <-chan struct{}) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, p := range b.local() {
			if p.waits.Load() != nil {
				p.letGo()
			}
		}
		select {
		case <-tick.C:
		case <-done:
			return
		}
	}
}

// Shutdown stops the node: gracefully until ctx ends, then at once. It returns
// when everything is gone.
func (b *Broker) Shutdown(ctx context.Context) error {
	var errs []error
	if b.web != nil {
		b.web.draining.Store(true)
	}
	if b.begun.Load() && !b.broken.Load() { // a broken node could only delay the others, who take over when its links end
		b.handOver(ctx)
	}
	b.cancel() // answers held pulls
	if b.starting != nil {
		<-b.starting
	}
	served := make(chan struct{})
	var letting sync.WaitGroup
	letting.Go(func() { b.letGo(served) })
	errs = append(errs, b.stopServers(ctx))
	close(served)
	letting.Wait()
	if b.forwards != nil {
		b.forwards.close()
	}
	if b.members != nil {
		leave, cancel := context.WithTimeout(ctx, time.Second)
		b.members.Leave(leave)
		cancel()
	}
	if b.host != nil {
		b.host.Close()
	}
	errs = append(errs, b.closePartitions())
	if b.catalogue != nil {
		errs = append(errs, b.catalogue.close())
	}
	if b.web != nil {
		errs = append(errs, b.web.close())
	}
	if b.members != nil {
		errs = append(errs, b.members.Close())
	}
	if b.transport != nil {
		errs = append(errs, b.transport.Close())
	}
	b.wg.Wait()
	errs = append(errs, b.events.close())
	if b.wal != nil {
		errs = append(errs, b.wal.Close())
	}
	if b.room != nil {
		errs = append(errs, b.room.reserve.close())
	}
	if b.lock != nil {
		errs = append(errs, b.lock.Close())
	}
	return errors.Join(errs...)
}
