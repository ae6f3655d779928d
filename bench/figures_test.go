package main

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFiguresAreTheNumbersOfAnObject(t *testing.T) {
	f, err := parseFigures([]byte(`{"msgs_per_s": 1250.5, "gaps_ms": [1, 2], "digests_equal": true, "sent": 3}`))
	require.NoError(t, err)
	require.Equal(t, figures{rate: 1250.5, sentCount: 3}, f)
	_, err = parseFigures([]byte("no cluster"))
	require.Error(t, err)
}

func TestMedianPassesOverWhatIsNotThere(t *testing.T) {
	require.Equal(t, 2.0, median([]float64{9, math.NaN(), 2, 1}))
	require.Equal(t, 3.0, median([]float64{4, 2}), "of an even number, the mean of the middle ones")
	require.True(t, math.IsNaN(median(nil)))
}

func TestProcessorTimeIsReadBehindAName(t *testing.T) {
	require.Equal(t, 1500.0, statTicks("71 (a (b) c) S 1 71 71 0 -1 4194304 2026 0 3 0 1200 300 7 9 20 0 12 0 5044 2082020352 6044"))
	require.Zero(t, statTicks(""))
}

func TestGapsAreSummedUp(t *testing.T) {
	require.Equal(t, figures{gapFaults: 4, gapMedian: 90, gapSecond: 90, gapMost: 700, gapAbove: 1}, gapFigures([]float64{90, 700, 20, 30}))
	require.Equal(t, 5.0, gapFigures([]float64{5})[gapSecond], "a single one is also the longest but one")
	require.Empty(t, gapFigures(nil))
}

func TestNumbersHaveThreeDigitsThatCount(t *testing.T) {
	for v, want := range map[float64]string{1234567.4: "1,234,567", 1000: "1,000", 999.6: "1000", 123.4: "123", 12.34: "12.3", 1.234: "1.23", 0: "0", 3: "3", 0.7: "0.70"} {
		require.Equal(t, want, number(v))
	}
	require.Equal(t, "–", number(math.NaN()))
	for v, want := range map[float64]string{1: "1", 64: "64", 4096: "4k", 262144: "256k", 4 << 20: "4M", 1000: "1k", 500000: "500k", 1e6: "1M", 0.5: "0.5"} {
		require.Equal(t, want, short(v))
	}
}
