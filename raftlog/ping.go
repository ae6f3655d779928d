package raftlog

import (
	"encoding/binary"
	"errors"
	"sync"
	"syscall"
	"time"
)

// silenceReset is how long past Silence a link stays before it is closed and dialled anew: a cut TCP connection repeats what was
// lost ever more slowly, a new one is there at once when the network is. Shorter would cut off nodes that only paused.
const silenceReset = time.Second

var errSilent = errors.New("raftlog: no answer to pings")

// ping keeps a control connection and judges the peer by its answers, until it is given up.
func (p *netPeer) ping() {
	t := p.t
	p.hear()
	p.judgement.Lock()
	p.judged = true
	p.judgement.Unlock()
	if p.control.now() != nil {
		p.judge(linkUp) // its hello was answered before anybody asked for verdicts
	}
	p.control.hold()
	ticker := time.NewTicker(t.cfg.Ping)
	defer ticker.Stop()
	last := time.Now()
	var reset time.Time
	for seq := uint64(1); ; seq++ {
		select {
		case <-ticker.C:
		case <-p.done:
			return
		case <-t.done:
			return
		}
		if link := p.control.now(); link != nil {
			link.out.put(seal(binary.AppendUvarint(newPayload(wirePing, 10), seq)), nil) // a full queue is silence, too
		}
		if now := time.Now(); now.Sub(last) > t.cfg.Silence {
			// It was we who slept; what was answered meanwhile is not read yet. Neither is it a sign of life.
			p.heard.Store(int64(time.Since(t.epoch)))
		}
		last = time.Now()
		silent := p.silent()
		if silent > t.cfg.Silence {
			p.judge(linkDown)
		}
		if silent > t.cfg.Silence+silenceReset && time.Since(reset) > silenceReset {
			reset = time.Now()
			p.control.reset(errSilent)
			p.data.reset(errSilent)
		}
	}
}

// hear notes a sign of life.
func (p *netPeer) hear() {
	p.heard.Store(int64(time.Since(p.t.epoch)))
	if p.verdict.Load() == linkDown {
		p.judge(linkUp)
	}
}

// silent is how long ago the last sign of life was.
func (p *netPeer) silent() time.Duration {
	return time.Since(p.t.epoch) - time.Duration(p.heard.Load())
}

// answered and unanswered are told of the hellos of this peer's lines.
func (p *netPeer) answered(class string) {
	p.hear()
	if class == classControl {
		p.judge(linkUp)
	} else {
		p.control.hurry()
	}
}

func (p *netPeer) unanswered(class string, err error) {
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, ErrHello) {
		p.judge(linkDown)
	}
	p.t.log.Debug("no link", "node", p.node, "class", class, "error", err)
}

func (p *netPeer) judge(v int32) {
	p.judgement.Lock()
	defer p.judgement.Unlock()
	if !p.judged || p.verdict.Load() == v {
		return
	}
	p.verdict.Store(v)
	p.t.events.push(p.node, v == linkUp)
	p.t.log.Info("link changed", "node", p.node, "up", v == linkUp)
}

// linkEvents brings verdicts to the watchers in order.
type linkEvents struct {
	mu       sync.Mutex
	queue    []linkEvent
	watchers []func(string, bool)
	wake     chan struct{}
}

type linkEvent struct {
	node string
	up   bool
}

// maxLinkEvents bounds what waits for a slow watcher: beyond it, a change and the change back cancel each other.
const maxLinkEvents = 1024

func (e *linkEvents) init() { e.wake = make(chan struct{}, 1) }

func (e *linkEvents) watch(f func(string, bool)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.watchers = append(e.watchers, f)
}

func (e *linkEvents) push(node string, up bool) {
	e.mu.Lock()
	cancelled := false
	if len(e.queue) >= maxLinkEvents {
		for i := len(e.queue) - 1; i >= 0 && !cancelled; i-- {
			if e.queue[i].node == node {
				e.queue = append(e.queue[:i], e.queue[i+1:]...)
				cancelled = true
			}
		}
	}
	if !cancelled {
		e.queue = append(e.queue, linkEvent{node, up})
	}
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *linkEvents) run(done <-chan struct{}) {
	for {
		e.mu.Lock()
		queue, watchers := e.queue, e.watchers
		e.queue = nil
		e.mu.Unlock()
		for _, ev := range queue {
			for _, f := range watchers {
				f(ev.node, ev.up)
			}
		}
		if len(queue) > 0 {
			continue
		}
		select {
		case <-e.wake:
		case <-done:
			return
		}
	}
}
