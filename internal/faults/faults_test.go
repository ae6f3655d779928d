package faults

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/internal/vfs/faultfs"
)

func TestAClockJumpsAndRunsAtItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Clock
		require.Equal(t, time.Now(), c.Now())
		c.Do(ClockOrder{Jump: -time.Hour, Rate: 2})
		require.True(t, c.Now().Equal(time.Now().Add(-time.Hour)))
		time.Sleep(time.Minute)
		require.True(t, c.Now().Equal(time.Now().Add(time.Minute-time.Hour)))
		c.Do(ClockOrder{Jump: time.Hour})
		time.Sleep(time.Minute)
		shown, real := c.Both()
		require.Equal(t, time.Minute, shown.Sub(real))
		c.Do(ClockOrder{Back: true})
		require.True(t, c.Now().Equal(time.Now()))
	})
}

func TestANodeDoesWhatItIsTold(t *testing.T) {
	dir := t.TempDir()
	s := Setup{Socket: filepath.Join(dir, "s"), Data: filepath.Join(dir, "data"), Twin: filepath.Join(dir, "twin"), Via: map[string]string{"a": "b"}}
	b, err := json.Marshal(s)
	require.NoError(t, err)
	file := filepath.Join(dir, "setup")
	require.NoError(t, os.WriteFile(file, b, 0o600))
	_, ok, err := ReadSetup()
	require.NoError(t, err)
	require.False(t, ok)
	t.Setenv(Variable, file)
	read, ok, err := ReadSetup()
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, s, read)

	c, err := Listen(s)
	require.NoError(t, err)
	defer c.Close()
	_, err = Send(s.Socket, Order{Disk: &[]faultfs.Rule{{Error: "ENOSPC", Full: true}}, Clock: &ClockOrder{Jump: time.Hour}})
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(s.Data, 0o750))
	_, err = c.Disk.Create(filepath.Join(s.Data, "x"))
	require.Error(t, err)
	a, err := Send(s.Socket, Order{})
	require.NoError(t, err)
	require.Equal(t, []int64{1}, a.Hits)
	require.InDelta(t, time.Hour, a.Wall-a.Real, float64(time.Second))
	_, err = Send(s.Socket, Order{Disk: &[]faultfs.Rule{{Error: "what"}}})
	require.ErrorContains(t, err, "what")
	_, err = Send(filepath.Join(dir, "nowhere"), Order{})
	require.Error(t, err)
}
