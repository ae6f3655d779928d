package mqtest

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
	"raftmq/message"
	"raftmq/remoting"
)

// requireFound asks node i for every message by its key, and by its time, and for a key
// that nobody has.
func (s *sickbay) requireFound(i int) {
	s.t.Helper()
	var times []int64
	for at := range s.sent {
		reply := s.answer(i, remoting.QueryMessage, remoting.QueryMessageHeader{Topic: "t", Key: fmt.Sprint("k", at), MaxNum: 10, EndTimestamp: 1 << 60})
		require.Equal(s.t, remoting.OK, reply.Code, "k%d of %s: %s", at, s.names[i], reply.Remark)
		rec, err := message.ParseRecord(reply.Body)
		require.NoError(s.t, err)
		require.Len(s.t, rec, len(reply.Body), "one record")
		require.EqualValues(s.t, at, rec.QueueOffset())
		require.Equal(s.t, body(at), rec.Body())
		times = append(times, rec.StoreTimestamp())
	}
	for at, ms := range times {
		if at > 0 && ms == times[at-1] {
			continue
		}
		reply := s.answer(i, remoting.SearchOffsetByTimestamp, remoting.SearchOffsetHeader{Topic: "t", Timestamp: ms})
		require.Equal(s.t, remoting.OK, reply.Code, reply.Remark)
		require.Equal(s.t, fmt.Sprint(at), reply.Ext["offset"], "at %d by %s", ms, s.names[i])
	}
	reply := s.answer(i, remoting.QueryMessage, remoting.QueryMessageHeader{Topic: "t", Key: "nobody's", MaxNum: 10, EndTimestamp: 1 << 60})
	require.Equal(s.t, remoting.QueryNotFound, reply.Code, reply.Remark)
}

// answer is what node i answers once somebody leads.
func (s *sickbay) answer(i int, code remoting.Code, h remoting.Header) *remoting.Command {
	s.t.Helper()
	for {
		reply := s.ask(s.ctx, i, code, h)
		if reply.Code != remoting.ServiceNotAvailable {
			return reply
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-s.ctx.Done():
			return reply
		}
	}
}

// awaitMetric waits until a metric of node i has come to at least so much.
func (s *sickbay) awaitMetric(i int, name string, least float64) {
	s.t.Helper()
	for s.metric(i, name) < least {
		select {
		case <-time.After(10 * time.Millisecond):
		case err := <-s.Nodes[i].Failed():
			s.t.Fatalf("%s failed: %v", s.names[i], err)
		case <-s.ctx.Done():
			s.t.Fatalf("%s of %s never comes to %v", name, s.names[i], least)
		}
	}
}

// A byte decays in the index by key of the leader, whose node runs or is stopped. A
// query, or the scrubber, finds it; no query is answered from it; it is built again from
// the log, and the node goes on to lead. RAFTMQ_DAMAGE tries more places.
func TestADamagedIndexIsBuiltAgain(t *testing.T) {
	t.Parallel()
	const head, hash, position = 9, 32 + 5, 32 + 16 + 12
	for _, c := range []struct {
		how string
		at  int64
	}{{"read", hash}, {"read", position}, {"scrubbed", head}, {"scrubbed", hash}, {"stopped", head}, {"stopped", position}} {
		if os.Getenv("RAFTMQ_DAMAGE") == "" && (c.how == "scrubbed") != (c.at == head) {
			continue
		}
		how, at := c.how, c.at
		t.Run(fmt.Sprint(how, " at ", at), func(t *testing.T) {
			t.Parallel()
			scrubs := func(cfg *broker.Config) {
				if how == "scrubbed" {
					cfg.ScrubRate, cfg.ScrubEvery = 1<<30, 50*time.Millisecond
				}
			}
			s := newSickbay(t, scrubs)
			const i = 0
			s.firstLeads()
			s.requireFound(i)
			file := s.file(s.dir(i), i, ".keys", 1)
			damage := func() { require.NoError(t, s.mems[i].Damage(file, at, 1, decay)) }
			if how != "read" {
				s.Stop(i) // with a checkpoint: what is not synced yet is not scrubbed
			}
			if how == "stopped" {
				damage()
			}
			if how != "read" {
				s.Run(i)
				s.Await(i)
				s.firstLeads()
			}
			if how != "stopped" {
				damage()
			}
			if how == "scrubbed" {
				s.awaitMetric(i, "raftmq_damage_found_total", 1)
			}
			s.requireFound(i)
			for at > 32 && s.metric(i, "raftmq_damage_found_total") == 0 { // another has come to lead meanwhile, and was asked
				require.NoError(t, s.ctx.Err(), "the damage is never found")
				s.firstLeads()
				s.requireFound(i)
			}
			if at > 32 || how == "scrubbed" { // else it is what a crash may leave
				require.EqualValues(t, 1, s.metric(i, "raftmq_damage_found_total"))
			}
			require.Zero(t, s.metric(i, "raftmq_partitions_quarantined"))
			s.p = s.producer() // nodes that came back have other addresses, and all may have by now
			s.send(3)
			s.awaitSame(s.ctx, "t")
			s.Stop(i) // and is in its file again
			how = "scrubbed"
			s.Run(i)
			s.Await(i)
			s.awaitMetric(i, "raftmq_scrub_passes_total", 1)
			require.Zero(t, s.metric(i, "raftmq_damage_found_total"))
			s.firstLeads()
			s.requireFound(i)
		})
	}
}

// firstLeads brings leadership to the first node: who stops hands it to the first that
// is there.
func (s *sickbay) firstLeads() {
	s.t.Helper()
	for j := s.leading(); j != 0; j = s.leading() {
		if j > 0 {
			s.Stop(j)
			s.Run(j)
			s.Await(j)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-s.ctx.Done():
			s.t.Fatal("the first node never leads")
		}
	}
}
