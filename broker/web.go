package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

// web serves health, metrics and, on loopback, profiles and the digests of
// replicas.
type web struct {
	b        *Broker
	server   *http.Server
	draining atomic.Bool
}

func (b *Broker) openWeb() error {
	ln, err := b.listen(b.cfg.HTTP)
	if err != nil {
		return err
	}
	b.addrs.HTTP = b.advertised(ln)
	w := &web{b: b}
	b.web = w // before it is asked
	mux := http.NewServeMux()
	mux.HandleFunc("/livez", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintln(rw, "ok") })
	mux.HandleFunc("/readyz", w.ready)
	mux.Handle("/metrics", promhttp.HandlerFor(b.metrics(), promhttp.HandlerOpts{MaxRequestsInFlight: webMetrics}))
	debug := http.NewServeMux()
	debug.HandleFunc("/debug/pprof/", pprof.Index)
	debug.HandleFunc("/debug/pprof/profile", pprof.Profile)
	debug.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	debug.HandleFunc("/debug/pprof/trace", pprof.Trace)
	profileBlocked(debug)
	debug.HandleFunc("/debug/partitions", w.partitions)
	mux.HandleFunc("/debug/", func(rw http.ResponseWriter, _ *http.Request) {
		http.Error(rw, "only from this host", http.StatusForbidden)
	})
	w.server = &http.Server{Handler: fromHere(debug, written(mux)), ErrorLog: b.log.Named("http").StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Warn}), ReadTimeout: webHeader, IdleTimeout: webIdle, MaxHeaderBytes: webHeaderBytes}
	b.wg.Go(func() {
		if err := w.server.Serve(netutil.LimitListener(ln, webConnections)); !errors.Is(err, http.ErrServerClosed) {
			b.log.Error("http stopped", "error", err)
		}
	})
	return nil
}

// What whoever reaches the port may take: a connection beyond these waits.
const (
	webConnections = 512
	webMetrics     = 4 // answers that are being made
	webHeaderBytes = 16 << 10
	webHeader      = 5 * time.Second // and a body, which nothing here has, but which is read over
	webIdle        = 10 * time.Second
	webWrite       = 10 * time.Second
)

// written gives an answer so long to be taken. The request's body is read over before.
func written(h http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(rw).SetWriteDeadline(time.Now().Add(webWrite)); err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
			return
		}
		r.Body.Close()
		h.ServeHTTP(rw, r)
	})
}

// fromHere has debug answer what is asked of it from this host, where a profile may take its time, and others all else: by
// loopback, or, where that is not listened on, from the very address that was called.
func fromHere(debug, others http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/debug/") && isHere(r) {
			debug.ServeHTTP(rw, r)
			return
		}
		others.ServeHTTP(rw, r)
	})
}

func isHere(r *http.Request) bool {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	here, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	ip := net.ParseIP(host)
	return ip != nil && (ip.IsLoopback() || here != nil && ip.Equal(here.IP))
}

// PartitionInfo is one replica, for people and tests.
type PartitionInfo struct {
	ID       uint64 `json:"id"`
	Topic    string `json:"topic"`
	Slot     int    `json:"slot"`
	Leader   string `json:"leader"`
	State    string `json:"state"`
	Term     uint64 `json:"term"`
	Last     uint64 `json:"last"`
	Commit   uint64 `json:"commit"`
	Applied  uint64 `json:"applied"`
	First    int64  `json:"first"` // position of the oldest that is kept
	Position int64  `json:"position"`
	Digest   string `json:"digest"` // of the log through applied
	WALBytes int64  `json:"wal_bytes"`
	Damage   string `json:"damage,omitempty"`  // why this replica is in quarantine
	Refuses  bool   `json:"refuses,omitempty"` // messages: too few replicas have room on their disks
	Waits    string `json:"waits,omitempty"`   // why this replica applies nothing: its disk is full, or it may open no more files
}

// partitions answers with all replicas, or with those of the topic that is asked for.
func (w *web) partitions(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("Content-Type", "application/json")
	json.NewEncoder(rw).Encode(w.b.partitionsOf(r.URL.Query().Get("topic")))
}

// Partitions returns the replicas that are open here.
func (b *Broker) Partitions() []PartitionInfo { return b.partitionsOf("") }

// partitionsOf is Partitions of a topic; "": of all.
func (b *Broker) partitionsOf(topic string) []PartitionInfo {
	infos := []PartitionInfo{}
	for _, p := range b.local() {
		if topic != "" && p.desc.Topic != topic {
			continue
		}
		s := p.replica.Stats()
		mark, digest := p.store().Digest()
		damage := ""
		if q, ok := b.sick.of(p.desc.ID); ok {
			damage = q.String()
		}
		waits := ""
		if why := p.waits.Load(); why != nil {
			waits = (*why).Error()
		}
		infos = append(infos, PartitionInfo{
			First: int64(p.store().First().Position), Refuses: p.refuses.Load(), Waits: waits,
			ID: p.desc.ID, Topic: p.desc.Topic, Slot: p.desc.Slot, Leader: b.leaderOf(p.desc.ID), State: s.State, Term: s.Term,
			Last: s.Last, Commit: s.Commit, Applied: mark.Index, Position: int64(mark.Position), Digest: fmt.Sprintf("%016x", digest), WALBytes: p.log.Bytes(), Damage: damage,
		})
	}
	for id, why := range b.sick.closed() {
		if desc, ok := b.catalogue.Partition(id); ok && (topic == "" || desc.Topic == topic) {
			infos = append(infos, PartitionInfo{ID: id, Topic: desc.Topic, Slot: desc.Slot, Leader: b.leaderOf(id), State: "Closed", Damage: why})
		}
	}
	return infos
}

func (w *web) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := w.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = w.server.Close()
	}
	return err
}
