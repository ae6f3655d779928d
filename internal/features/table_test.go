package features

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// row is one thing that is promised.
type row struct {
	name, about string
	test        func(*world)
	own         bool   // it breaks its cluster: it has one to itself
	killed      bool   // it is about state: at full size leaders are killed meanwhile
	why         string // why there is no test
}

// rows are all, in the order of their numbers.
func rows() []row {
	return slices.Concat(sending, ordering, consuming, storage, clustering, beyond)
}

// program is the raftmq of the full size; "": the usual size.
var program = os.Getenv("RAFTMQ_FEATURES")

func TestFeatures(t *testing.T) {
	var (
		mu      sync.Mutex
		results = make(map[string]string)
	)
	t.Cleanup(func() {
		var b strings.Builder
		for _, r := range rows() {
			if result := results[r.name]; result != "" { // else it was not asked for
				fmt.Fprintf(&b, "\n%-6s %-58s %s", r.name, r.about, result)
			}
		}
		t.Log(b.String())
	})
	calm := start(t)
	shaken, stop := calm, func() {}
	if program != "" {
		shaken = start(t)
		stop = shaken.killing(t)
	}
	t.Run("rows", func(t *testing.T) {
		for _, r := range rows() {
			on := calm
			if r.killed {
				on = shaken
			}
			t.Run(r.name, func(t *testing.T) {
				begun := time.Now()
				defer func() {
					result := fmt.Sprintf("ok, %.1f s", time.Since(begun).Seconds())
					switch {
					case t.Failed():
						result = "FAILED"
					case t.Skipped():
						result = "no test: " + r.why
					}
					mu.Lock()
					defer mu.Unlock()
					results[r.name] = result
				}()
				if r.test == nil {
					t.Skip(r.why)
				}
				t.Parallel()
				begun = time.Now()
				if r.own {
					on = start(t)
				}
				r.test(newWorld(t, on, strings.ToLower(r.name)))
			})
		}
	})
	stop()
}

// Every row is there once, and has a test or a reason.
func TestTheTableIsWhole(t *testing.T) {
	var names []string
	for _, r := range rows() {
		require.NotEmpty(t, r.about, r.name)
		require.NotEqual(t, r.test == nil, r.why == "", r.name)
		names = append(names, r.name)
	}
	var want []string
	for n := 1; n <= 80; n++ {
		want = append(want, fmt.Sprint("A", n))
	}
	want = append(want, "timers", "groups")
	require.Equal(t, want, names)
}
