package store

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs"
)

func unpaced(context.Context, int) error { return nil }

// verify returns the damage that Verify finds, by file.
func verify(t *testing.T, s *Store, from Position) (map[string]*Damage, Position) {
	t.Helper()
	found := map[string]*Damage{}
	next, err := s.Verify(t.Context(), from, unpaced, func(d *Damage) {
		require.NotContains(t, found, d.File, "told twice")
		found[d.File] = d
	})
	require.NoError(t, err)
	return found, next
}

// A byte that is not what was written is found and named, wherever it is in a
// file of any kind; and nothing else is.
func TestVerifyFindsAFlippedByteAnywhere(t *testing.T) {
	disk, _, k := settled(t, 120)
	s := openMem(t, disk, k.state)
	require.NoError(t, s.Trim(s.Segments()[2].Position))
	for range 3 {
		require.NoError(t, k.save(s))
	}
	sealed := s.active().start
	require.NoError(t, s.Close())
	names, err := disk.List("p")
	require.NoError(t, err)
	kinds := map[string]int{}
	for _, n := range names {
		g, _ := s.list()
		if g.other[n] >= sealed || n == filepath.Base(segmentName("", sealed, "log")) || n == nextSegment {
			continue
		}
		name := filepath.Join("p", n)
		f, err := disk.Open(name)
		require.NoError(t, err)
		size, err := f.Size()
		require.NoError(t, err)
		require.NoError(t, f.Close())
		kinds[filepath.Ext(n)]++
		step := max(1, size/20)
		if n != cutName && size > 200 {
			step++
		}
		for at := int64(0); at < size; at += step {
			left := disk.CrashKeeping(0, 1)
			s, err := Open("p", small(left), k.state)
			require.NoError(t, err)
			require.NoError(t, left.Damage(name, at, 1, flip))
			found, next := verify(t, s, 0)
			require.Equal(t, sealed, next)
			if strings.HasSuffix(n, ".q") && found[name] == nil { // below what is retained
				for _, q := range s.queues {
					if base := q.bases[0]; name == queueName("p", q.name, base) {
						require.Less(t, at, placeAt(base, q.min))
						found[name] = nil
					}
				}
			}
			require.Len(t, found, 1, "%s at %d", name, at)
			require.Contains(t, found, name, "at %d", at)
			if d := found[name]; d != nil {
				require.LessOrEqual(t, d.Offset, at)
			}
			if strings.HasSuffix(n, ".keys") {
				found, _ = verify(t, s, 0)
				require.Empty(t, found, "keys are built again")
			}
			require.NoError(t, s.Close())
		}
	}
	for _, kind := range []string{".log", ".q", ".keys", ".floor", ""} {
		require.Positive(t, kinds[kind], kind)
	}
}

// Verify goes on where another ended; what paces it can end it.
func TestVerifyGoesOnWhereItEnded(t *testing.T) {
	disk, _, k := settled(t, 300)
	s := openMem(t, disk, k.state)
	stop := errors.New("enough")
	var from Position
	rounds, all := 0, 0
	for {
		n := 0
		next, err := s.Verify(t.Context(), from, func(_ context.Context, bytes int) error {
			require.LessOrEqual(t, bytes, verifyBytes)
			all += bytes
			if n += bytes; n > 100<<10 {
				return stop
			}
			return nil
		}, func(d *Damage) { t.Error(d) })
		if err == nil {
			require.Equal(t, s.active().start, next)
			break
		}
		require.ErrorIs(t, err, stop)
		require.Greater(t, next, from)
		from = next
		rounds++
	}
	require.Greater(t, rounds, 3)
	require.Greater(t, all, int(s.active().start))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Verify(ctx, 0, unpaced, func(*Damage) {})
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, s.Close())
	_, err = s.Verify(t.Context(), 0, unpaced, func(*Damage) {})
	require.ErrorIs(t, err, ErrClosed)
}

// Beside appends, rolls, trims and syncs nothing sound is taken for damaged.
func TestVerifyBesideTheAppender(t *testing.T) {
	h := newHistory(t, 5, 600)
	s := openMem(t, vfs.NewMem(1), nil)
	done := make(chan struct{})
	errs := make(chan error, 2)
	go func() {
		for {
			select {
			case <-done:
				errs <- nil
				return
			default:
			}
			var damage error
			if _, err := s.Verify(context.Background(), 0, unpaced, func(d *Damage) { damage = d }); errors.Join(err, damage) != nil {
				errs <- errors.Join(err, damage)
				return
			}
		}
	}()
	go func() {
		for {
			select {
			case <-done:
				errs <- nil
				return
			default:
				if err := s.Sync(s.Last()); err != nil {
					errs <- err
					return
				}
			}
		}
	}()
	h.play(t, s, uint64(len(h)))
	close(done)
	require.NoError(t, <-errs)
	require.NoError(t, <-errs)
}
