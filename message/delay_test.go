package message

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func props(kv ...string) string {
	var b []byte
	for i := 0; i < len(kv); i += 2 {
		b = AppendProperty(b, kv[i], kv[i+1])
	}
	return string(b)
}

func TestWhenAMessageIsToCome(t *testing.T) {
	const now = 1_000_000
	for _, c := range []struct {
		props   string
		due     int64
		delayed bool
	}{
		{"", 0, false},
		{props("DELAY", "1"), now + 1000, true},
		{props("DELAY", "18"), now + 7_200_000, true},
		{props("DELAY", "99"), now + 7_200_000, true},
		{props("DELAY", "0"), 0, false},
		{props("DELAY", "-1"), 0, false},
		{props("TIMER_DELAY_SEC", "5", "DELAY", "2", "TIMER_DELIVER_MS", "1"), now + 5000, true},
		{props("TIMER_DELIVER_MS", "7", "TIMER_DELAY_MS", "8", "TIMER_DELAY_SEC", "9"), now + 9000, true},
		{props("TIMER_DELIVER_MS", "7", "TIMER_DELAY_MS", "8"), now + 8, true},
		{props("TIMER_DELIVER_MS", "7"), 7, true},
		{props("TIMER_DELIVER_MS", "-7"), 0, true},
		{props("TIMER_DELIVER_MS", "4102444800000"), 4102444800000, true},
	} {
		due, delayed, err := Due(c.props, now)
		require.NoError(t, err, c.props)
		require.Equal(t, c.delayed, delayed, c.props)
		require.Equal(t, c.due, due, c.props)
	}
	for _, bad := range []string{props("DELAY", "x"), props("TIMER_DELAY_SEC", "9223372036854775807"), props("TIMER_DELAY_MS", "1e3"),
		props("TIMER_DELIVER_MS", "99999999999999999999"), props("TIMER_DEL_UNIQKEY", "x")} {
		_, _, err := Due(bad, now)
		require.ErrorIs(t, err, ErrDelay, bad)
	}
}

func TestWhatConsumersSeeOfADelayedMessage(t *testing.T) {
	require.Equal(t, props("KEYS", "k", "A", "b"),
		Waiting(props("KEYS", "k", "DELAY", "3", "TIMER_DELIVER_MS", "5", "REAL_TOPIC", "x", "A", "b"), 9, 2))
	require.Equal(t, props("TIMER_DELIVER_MS", "9", "A", "b", "TIMER_OUT_MS", "9", "TIMER_ENQUEUE_MS", "2"),
		Waiting(props("TIMER_DELIVER_MS", "9", "REAL_QID", "1", "A", "b", "TIMER_OUT_MS", "1"), 9, 2))
}

// Whatever is asked for is refused, or a time that does not run over.
func FuzzDue(f *testing.F) {
	f.Add(props("DELAY", "3"), int64(5))
	f.Add(props("TIMER_DELAY_SEC", "-9223372036854775808"), int64(1)<<41)
	f.Fuzz(func(t *testing.T, properties string, now int64) {
		now = max(0, now%(1<<53))
		due, delayed, err := Due(properties, now)
		if err == nil && delayed {
			require.GreaterOrEqual(t, due, int64(0))
			require.Less(t, due, int64(1)<<55)
			Waiting(properties, due, now)
		}
	})
}

// RocketMQ's levels (MessageStoreConfig.messageDelayLevel).
func TestLevelsAreRocketMQs(t *testing.T) {
	want := "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"
	for i, text := range strings.Fields(want) {
		d, err := time.ParseDuration(text)
		require.NoError(t, err)
		require.Equal(t, d, LevelDelay(i+1), "level %d", i+1)
	}
	require.Equal(t, 18, MaxDelayLevel)
	require.Equal(t, 2*time.Hour, LevelDelay(19))
	require.Zero(t, LevelDelay(0))
}
