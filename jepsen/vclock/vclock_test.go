package vclock

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"
	_ "unsafe" // for go:linkname

	"github.com/stretchr/testify/require"
)

// The test program is also the child: it answers each line with its wall clock and its
// monotonic one, or sleeps 100 ms of its own first.
func TestMain(m *testing.M) {
	if os.Getenv("VCLOCK_CHILD") == "" {
		os.Exit(m.Run())
	}
	begun := time.Now()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "sleep":
			time.Sleep(100 * time.Millisecond)
		case "watch": // the smallest step of its monotonic clock until it shows 2 s
			fmt.Println("watching")
			least := time.Hour
			for last := time.Since(begun); ; {
				is := time.Since(begun)
				least = min(least, is-last)
				if last = is; is > 2*time.Second {
					break
				}
			}
			fmt.Println(0, int64(least))
			continue
		}
		n := time.Now()
		if in.Text() == "up" {
			fmt.Println(n.UnixNano(), nanotime())
			continue
		}
		fmt.Println(n.UnixNano(), int64(n.Sub(begun)))
	}
}

type child struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
	*Clock
}

func start(t *testing.T, up time.Duration) *child {
	t.Helper()
	if err := Possible(); err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "VCLOCK_CHILD=1")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	runtime.LockOSThread()
	c, err := Start(cmd, up)
	runtime.UnlockOSThread()
	require.NoError(t, err)
	t.Cleanup(func() {
		in.Close()
		require.NoError(t, cmd.Wait(), "it ends as if nothing had been")
	})
	return &child{t, in, bufio.NewReader(out), c}
}

func (c *child) ask(what string) (wall time.Time, mono time.Duration) {
	c.t.Helper()
	fmt.Fprintln(c.in, what)
	l, err := c.out.ReadString('\n')
	require.NoError(c.t, err)
	var w int64
	_, err = fmt.Sscan(l, &w, &mono)
	require.NoError(c.t, err)
	return time.Unix(0, w), mono
}

// off is by how much the child's wall clock differs, to within what the answer took.
func (c *child) off() (off, within time.Duration) {
	c.t.Helper()
	before := time.Now()
	wall, _ := c.ask("now")
	after := time.Now()
	return wall.Sub(before), after.Sub(before)
}

func TestAWallClockJumpsAndTheMonotonicOneDoesNot(t *testing.T) {
	c := start(t, 0)
	off, within := c.off()
	require.InDelta(t, 0, off, float64(within))
	_, before := c.ask("now")
	for _, jump := range []time.Duration{90 * time.Minute, -300250 * time.Millisecond, 10 * 365 * 24 * time.Hour} {
		require.NoError(t, c.Do(Change{Jump: jump, Right: true}))
		off, within = c.off()
		require.InDelta(t, jump, off, float64(within+time.Millisecond))
	}
	require.NoError(t, c.Do(Change{Right: true}))
	off, within = c.off()
	require.InDelta(t, 0, off, float64(within))
	_, after := c.ask("now")
	require.Less(t, after-before, time.Minute)
	require.Greater(t, after, before)
}

// Of two looks at a clock as much of its time lies between as the rate says, to within
// what the looks took.
func TestClocksRunAtTheirRates(t *testing.T) {
	c := start(t, 0)
	for _, r := range []float64{4, 0.25, 1} {
		require.NoError(t, c.Do(Change{Wall: r, Timers: r}))
		outer := time.Now()
		w1, m1 := c.ask("now")
		inner := time.Now()
		c.ask("sleep")
		least := time.Since(inner)
		w2, m2 := c.ask("now")
		most := time.Since(outer)
		for _, d := range []time.Duration{w2.Sub(w1), m2 - m1} {
			require.GreaterOrEqual(t, float64(d), float64(least)*r*0.999)
			require.LessOrEqual(t, float64(d), float64(most)*r*1.001)
		}
	}
}

// While the child reads its clock as fast as it can, the rate changes between extremes.
func TestTheMonotonicClockNeverGoesBack(t *testing.T) {
	changes := 0
	for round := 0; changes <= 2; round++ { // at 50 times its rate its two seconds are over soon: too soon, if this process stands still
		require.Less(t, round, 50, "the rate does not change while it looks")
		changes = watched(t)
	}
}

// watched is how often the rate changed while a child read its clock.
func watched(t *testing.T) (changes int) {
	c := start(t, 0)
	fmt.Fprintln(c.in, "watch")
	_, err := c.out.ReadString('\n')
	require.NoError(t, err)
	told := make(chan string, 1)
	go func() {
		l, _ := c.out.ReadString('\n')
		told <- l
	}()
	for i := 0; ; i++ {
		require.NoError(t, c.Do(Change{Timers: []float64{50, 0.02}[i%2]}))
		select {
		case l := <-told:
			var wall, least int64
			_, err := fmt.Sscan(l, &wall, &least)
			require.NoError(t, err)
			require.GreaterOrEqual(t, least, int64(0))
			return i
		case <-time.After(5 * time.Millisecond):
		}
	}
}

//go:linkname nanotime runtime.nanotime
func nanotime() int64
