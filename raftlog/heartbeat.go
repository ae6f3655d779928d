package raftlog

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// heartbeat sends a heartbeat with those of other groups to the same node, and waits for the answer, which comes with others too. It
// goes through the other Raft like any request: a follower whose disk hangs does not answer.
func (g *GroupTransport) heartbeat(p *netPeer, incarnation uint64, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	link, err := p.control.wait(linkWait, g.done)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	call := &linkCall{answer: func(r *wireReader, err error) {
		if err == nil {
			r.appendAnswer(resp, link.header())
			err = r.err
		}
		done <- err
	}}
	id, err := link.beat(call, max(beatTick, time.Duration(g.hold.Load())), g.id, incarnation, args)
	if err != nil {
		return err
	}
	timer := time.NewTimer(callTimeout)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		err = fmt.Errorf("%w: no answer from %s in %v", ErrLinkLost, p.node, callTimeout)
	case <-g.done:
		err = raft.ErrTransportShutdown
	}
	if link.remove(id) == nil {
		return <-done
	}
	return err
}

// beatShare is how much of a follower's patience its leader's heartbeats wait for those of other groups. The library makes the next one
// 0.1 to 0.2 of it after an answer, so a follower hears from its leader every 0.3 to 0.4, and a lease of 0.75 does not end for it. Most of
// what idle groups cost is waking up for one of them at a time.
const beatShare = 5

// SetHeartbeat says how long the group's followers wait for their leader. Call it before Raft starts.
func (g *GroupTransport) SetHeartbeat(timeout time.Duration) {
	g.hold.Store(int64(timeout / beatShare))
}

// beat adds a heartbeat to the frame that leaves within hold.
func (l *peerLink) beat(c *linkCall, hold time.Duration, group, incarnation uint64, args *raft.AppendEntriesRequest) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return 0, unreachable(l.p.node, l.err)
	}
	l.last++
	id := l.last
	l.pending[id] = c
	l.beats = wireTarget{id, group, incarnation}.append(l.beats)
	l.beats = appendRPCHeader(l.beats, args.RPCHeader, string(l.p.t.self))
	l.beats = binary.AppendUvarint(l.beats, args.Term)
	if l.beating++; l.beating == wireMaxBeats {
		l.flushBeatsLocked()
	} else if due := time.Now().Add(hold); l.beating == 1 || due.Before(l.beatsDue) {
		l.beatsDue = due
		l.p.t.after(hold, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.flushBeatsLocked()
		})
	}
	return id, nil
}

func (l *peerLink) flushBeatsLocked() {
	if l.beating == 0 {
		return
	}
	s := &l.p.t.stats
	s.beats.Add(uint64(l.beating))
	s.beatFrames.Add(1)
	l.out.put(beatsFrame(wireHeartbeats, l.beating, l.beats), nil) // a full queue: they go unanswered
	l.beats, l.beating = nil, 0
}
