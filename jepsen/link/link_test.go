package link

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func stream(name string) *rand.Rand { return rand.New(rand.NewPCG(7, uint64(len(name)))) }

func pair() *Link { return New([]string{"a", "b"}, stream).Link(0, 1) }

func TestALinkLetsAllPassUntilItHasARule(t *testing.T) {
	l := pair()
	require.Equal(t, Fate{After: []time.Duration{0}, Corrupt: -1}, l.Packet("", 100))
	_, changed := l.Rule("")
	l.Set(Rule{Cut: true})
	<-changed
	require.Empty(t, l.Packet("", 100).After)
	require.Equal(t, Counts{Passed: 1, Dropped: 1}, l.Counts())
	l.Set(Rule{})
	require.Len(t, l.Packet("", 100).After, 1)
}

func TestARuleForAClassLeavesTheOthers(t *testing.T) {
	l := pair()
	l.Set(Rule{Cut: true, Only: Gossip})
	require.Empty(t, l.Packet(Gossip, 1).After)
	require.Len(t, l.Packet(Raft, 1).After, 1)
	require.Len(t, l.Packet("", 1).After, 1)
}

// Of many packets about as many are struck as the rule says: within three standard
// deviations.
func TestChancesAreKept(t *testing.T) {
	l := pair()
	l.Set(Rule{Loss: 0.2, Duplicate: 0.1, Corrupt: 0.05, Delay: 10 * time.Millisecond, Jitter: 5 * time.Millisecond})
	const n = 20_000
	for range n {
		for _, d := range l.Packet("", 1000).After {
			require.GreaterOrEqual(t, d, 10*time.Millisecond)
			require.Less(t, d, 15*time.Millisecond)
		}
	}
	c := l.Counts()
	require.InDelta(t, 0.2*n, c.Dropped, 170)
	require.InDelta(t, 0.08*n, c.Doubled, 115)
	require.InDelta(t, 0.04*n, c.Corrupted, 84)
	require.Equal(t, c.Passed, c.Delayed)
	require.EqualValues(t, n, c.Passed+c.Dropped)
}

func TestOneSeedGivesOneFate(t *testing.T) {
	draw := func() (out []Fate) {
		l := pair()
		l.Set(Rule{Loss: 0.3, Jitter: time.Second, Corrupt: 0.3})
		for range 100 {
			out = append(out, l.Packet("", 50))
		}
		return out
	}
	require.Equal(t, draw(), draw())
}

func TestASlowLinkQueuesAndThenLoses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := pair()
		l.Set(Rule{Rate: 1000})
		require.Equal(t, []time.Duration{500 * time.Millisecond}, l.Packet("", 500).After)
		require.Equal(t, []time.Duration{time.Second}, l.Packet("", 500).After)
		require.Equal(t, []time.Duration{1500 * time.Millisecond}, l.Packet("", 500).After)
		require.Empty(t, l.Packet("", 500).After, "the queue is full")
		time.Sleep(time.Second)
		require.Equal(t, []time.Duration{time.Second}, l.Packet("", 500).After)
	})
}

func TestAStreamsLossIsTime(t *testing.T) {
	l := pair()
	l.Set(Rule{Loss: 1, Delay: time.Millisecond})
	require.Equal(t, 2*resend+time.Millisecond, l.Chunk("", 2000))
	l.Set(Rule{})
	require.Zero(t, l.Chunk("", 2000))
}

func TestHealing(t *testing.T) {
	n := New([]string{"a", "b", "c"}, stream)
	n.Link(0, 1).Set(Rule{Cut: true})
	n.Link(2, 1).Set(Rule{Reset: true})
	require.True(t, n.Link(2, 1).Packet("", 1).Reset)
	n.Heal()
	for from := range n.Hosts() {
		for to := range n.Hosts() {
			r, _ := n.Link(from, to).Rule("")
			require.Equal(t, Rule{}, r, "%s to %s", n.Name(from), n.Name(to))
		}
	}
}
