package broker

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
	"raftmq/membership"
	"raftmq/store"
)

func TestWhatADiskAsksFor(t *testing.T) {
	const g = 1 << 30
	for _, c := range []struct {
		name    string
		free    int64
		limits  diskLimits
		refuses bool // before
		reserve int64
		want    membership.DiskLevel
		tight   bool
	}{
		{"empty", 100 * g, diskLimits{75, 85, 90}, false, g, membership.DiskFine, false},
		{"below clean", 26 * g, diskLimits{75, 85, 90}, false, g, membership.DiskFine, false},
		{"clean", 25 * g, diskLimits{75, 85, 90}, false, g, membership.DiskClean, false},
		{"force", 15 * g, diskLimits{75, 85, 90}, false, g, membership.DiskForce, false},
		{"full", 10 * g, diskLimits{75, 85, 90}, false, g, membership.DiskFull, false},
		{"still full", 10*g + g/2, diskLimits{75, 85, 90}, true, g, membership.DiskFull, false},
		{"no longer full", 11*g + g/2, diskLimits{75, 85, 90}, true, g, membership.DiskForce, false},
		{"force without clean", 15 * g, diskLimits{100, 85, 90}, false, g, membership.DiskForce, false},
		{"off", 3 * g, diskLimits{100, 100, 100}, false, g, membership.DiskFine, false},
		{"off, and only the reserve is left", 2*g - 1, diskLimits{100, 100, 100}, false, g, membership.DiskFull, false},
		{"off, a little more than what it refused at", 2*g + 1, diskLimits{100, 100, 100}, true, g, membership.DiskFull, false},
		{"half of the reserve", g/2 - 1, diskLimits{100, 100, 100}, false, g, membership.DiskFull, true},
		{"all off", 0, diskLimits{100, 100, 100}, false, 0, membership.DiskFine, false},
	} {
		s := diskState{free: c.free, total: 100 * g}
		need := int64(0)
		if c.reserve > 0 {
			need = 2 * g
		}
		c.limits.judge(&s, c.refuses, need, c.reserve)
		require.Equal(t, c.want, s.level, c.name)
		require.Equal(t, c.tight, s.tight, c.name)
	}
}

// The reserve takes what it is to have while there is more, gives it up piece by piece
// while the disk is full, and survives a restart; its room is really taken.
func TestTheReserveGivesWay(t *testing.T) {
	const mib = 1 << 20
	d := vfs.NewMem(1)
	require.NoError(t, vfs.MakeDir(d, "data"))
	d.SetFree(100 * mib)
	free := func() int64 {
		n, _, err := d.Space("data")
		require.NoError(t, err)
		return int64(n)
	}
	r, err := openReserve(d, "data", 16*mib)
	require.NoError(t, err)
	left, err := r.adjust(free())
	require.NoError(t, err)
	require.EqualValues(t, 84*mib, left)
	require.EqualValues(t, left, free())
	d.SetFree(0)
	for want := int64(14 * mib); want >= 0; want -= 2 * mib {
		left, err = r.adjust(free())
		require.NoError(t, err)
		require.EqualValues(t, 2*mib, left, "twice the slack")
		require.EqualValues(t, want, r.held)
		require.EqualValues(t, left, free())
		again, err := r.adjust(left)
		require.NoError(t, err)
		require.Equal(t, left, again, "nothing more while that is free")
		d.SetFree(0)
	}
	left, err = r.adjust(0)
	require.NoError(t, err)
	require.Zero(t, left+r.held)
	d.SetFree(8 * mib)
	_, err = r.adjust(free())
	require.NoError(t, err)
	require.EqualValues(t, 5*mib, r.held, "as much as leaves some free")
	require.NoError(t, r.close())
	r, err = openReserve(d, "data", 2*mib)
	require.NoError(t, err)
	require.EqualValues(t, 5*mib, r.held)
	left, err = r.adjust(free())
	require.NoError(t, err)
	require.EqualValues(t, []int64{6 * mib, 2 * mib}, []int64{left, r.held}, "a smaller one is wanted")
	require.NoError(t, r.close())
	r, err = openReserve(d, "data", 0)
	require.NoError(t, err)
	require.NoError(t, r.close())
	require.EqualValues(t, 8*mib, free())
}

func TestHoursOfTheDay(t *testing.T) {
	at := func(h int) time.Time { return time.Date(2026, 1, 2, h, 30, 0, 0, time.Local) }
	for in, want := range map[string][]int{"04": {4}, "4": {4}, "04;16": {4, 16}, "0; 23": {0, 23}} {
		h, err := parseHours(in)
		require.NoError(t, err, in)
		for x := range 24 {
			require.Equal(t, slices.Contains(want, x), h.has(at(x)), "%s at %d", in, x)
		}
	}
	h, err := parseHours("any")
	require.NoError(t, err)
	for x := range 24 {
		require.True(t, h.has(at(x)))
	}
	for _, in := range []string{"", "24", "-1", "4,5", "x", "4;"} {
		_, err := parseHours(in)
		require.Error(t, err, in)
	}
}

func TestSegmentsBeyondWhatIsKept(t *testing.T) {
	segments := []store.Retained{{Start: 100, End: 200}, {Start: 200, End: 300}, {Start: 300, End: 350}}
	for bytes, want := range map[int64]store.Position{0: 0, 1: 300, 50: 300, 51: 200, 150: 200, 151: 100, 250: 100, 251: 0} {
		require.Equal(t, want, beyond(segments, bytes), "%d bytes", bytes)
	}
	for v, ok := range map[string]bool{"48h": true, "forever": true, "1s": true, "3 days": false, "": false, "0s": false, "-1h": false} {
		require.Equal(t, ok, checkRetention(map[string]string{attrRetention: v}) == nil, v)
	}
	for v, ok := range map[string]bool{"1": true, "unlimited": true, "0": false, "-1": false, "1GiB": false, "": false} {
		require.Equal(t, ok, checkRetention(map[string]string{attrRetentionBytes: v}) == nil, v)
	}
}
