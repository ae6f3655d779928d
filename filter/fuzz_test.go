package filter

import (
	"errors"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// No expression and no properties make it panic. A mistake lies inside the text. What
// is compiled is the same again in parentheses, and what is not true of a message is
// true of none under AND.
func FuzzExpression(f *testing.F) {
	all, err := os.ReadFile("testdata/verdicts.txt")
	require.NoError(f, err)
	for line := range strings.Lines(string(all)) {
		if !strings.HasPrefix(line, "\t") && !strings.HasPrefix(line, "#") {
			f.Add(strings.TrimSpace(line), stored("a", "3", "b", "3.5", "TAGS", "red"))
		}
	}
	f.Add(typical, order)
	f.Add(strings.Repeat("(", 100), []byte("\x01\x02"))
	f.Fuzz(func(t *testing.T, text string, properties []byte) {
		e, err := Compile(text)
		if err != nil {
			mistake, ok := errors.AsType[*Error](err)
			require.True(t, ok)
			require.True(t, mistake.Offset >= 0 && mistake.Offset <= len(text))
			require.True(t, mistake.Line >= 1 && mistake.Column >= 1)
			require.Equal(t, 1, strings.Count(mistake.Caret(), "\n"))
			return
		}
		v := e.evaluate(properties)
		require.Contains(t, []kind{boolean, null, failed}, v.kind)
		again, err := Compile("(" + text + "\n)")
		if err == nil { // else a limit
			require.Equal(t, v.String(), again.evaluate(properties).String())
		}
		both, err := Compile("(" + text + "\n) AND TRUE")
		if err == nil {
			require.Equal(t, e.Match(properties), both.Match(properties))
		}
	})
}

// Numbers in properties are read as Go's own functions read what both take.
func FuzzNumber(f *testing.F) {
	for _, s := range []string{"", "0", "-1", "+2147483647", "2147483648", "-2147483649", "-9223372036854775808", "-9223372036854775809", "18446744073709551616", "9223372036854775808", "1.5", "NaN", "Infinity", "inf", "1_0", "0x1p4", "0x10", "1e5f", " 7 ", "0x1.8p1d", "."} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		n, ok := readInteger(s, math.MinInt64, math.MaxInt64)
		want, err := strconv.ParseInt(string(s), 10, 64)
		require.Equal(t, err == nil, ok)
		if ok {
			require.Equal(t, want, n)
		}
		n, ok = readInteger(s, math.MinInt32, math.MaxInt32)
		want, err = strconv.ParseInt(string(s), 10, 32)
		require.Equal(t, err == nil, ok)
		if ok {
			require.Equal(t, want, n)
		}
		if x, ok := readDouble(s); ok && utf8.Valid(s) {
			text := strings.TrimFunc(string(s), func(r rune) bool { return r <= ' ' })
			y, err := strconv.ParseFloat(text, 64)
			if errors.Is(err, strconv.ErrSyntax) { // it ends with a letter
				y, _ = strconv.ParseFloat(text[:len(text)-1], 64)
			}
			require.True(t, x == y || math.IsNaN(x) && math.IsNaN(y) || strings.ContainsAny(text, "xX"), "%q: %v, %v", s, x, y)
		}
	})
}
