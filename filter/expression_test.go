package filter

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// stored are properties as a record has them.
func stored(pairs ...string) []byte {
	var b []byte
	for i := 0; i+1 < len(pairs); i += 2 {
		b = fmt.Appendf(b, "%s\x01%s\x02", pairs[i], pairs[i+1])
	}
	return b
}

func (v value) String() string {
	switch {
	case v.kind == failed:
		return "failed"
	case v.kind == null:
		return "unknown"
	case v.kind == boolean && v.n == 1:
		return "true"
	case v.kind == boolean:
		return "false"
	}
	return fmt.Sprintf("%d", v.kind)
}

// TestVerdicts goes through testdata/verdicts.txt: each expression of each message.
func TestVerdicts(t *testing.T) {
	all, err := os.ReadFile("testdata/verdicts.txt")
	require.NoError(t, err)
	pair := regexp.MustCompile(`(\w+)="([^"]*)"`)
	var messages [][]byte
	var expression string
	checked := 0
	for line := range strings.Lines(string(all)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if rest, ok := strings.CutPrefix(line, "message "); ok {
			var pairs []string
			for _, m := range pair.FindAllStringSubmatch(rest, -1) {
				pairs = append(pairs, m[1], m[2])
			}
			messages = append(messages, stored(pairs...))
			continue
		}
		want, ok := strings.CutPrefix(line, "\t")
		if !ok {
			expression = strings.NewReplacer(`\n`, "\n", `\t`, "\t").Replace(line)
			continue
		}
		e, err := Compile(expression)
		if want == "refused" {
			require.Error(t, err, "%q", expression)
			checked++
			continue
		}
		require.NoError(t, err, "%q", expression)
		verdicts := strings.Fields(want)
		require.Len(t, verdicts, len(messages))
		for i, m := range messages {
			require.Equal(t, verdicts[i], e.evaluate(m).String(), "%q of %q", expression, m)
			require.Equal(t, verdicts[i] == "true", e.Match(m), "%q of %q", expression, m)
			checked++
		}
	}
	require.Greater(t, checked, 1000)
}

// What RocketMQ does not take, or reads in part.
func TestWhatRocketMQDoesNotTake(t *testing.T) {
	m := stored("a", "3", "z", "0")
	for expression, want := range map[string]bool{
		"a > 0.0": true, "z = 0.0": true, "z > 0.": false, "a = 3 -- to the end": true, "z = 0e5": true,
	} {
		e, err := Compile(expression)
		require.NoError(t, err, expression)
		require.Equal(t, want, e.Match(m), expression)
	}
	for _, expression := range []string{"a = 3 b = 4", "a = 3)", "a = 3; a = 4", "a = 007", "a 3"} {
		_, err := Compile(expression)
		require.Error(t, err, expression)
	}
}

func TestMistakesHaveAPlace(t *testing.T) {
	for _, c := range []struct{ text, want, caret string }{
		{"", "line 1, column 1: expected a condition, but the expression ends", "\n^"},
		{" \n ", "line 2, column 2: expected a condition, but the expression ends", " \n ^"},
		{"a >", "line 1, column 4: expected a property, a string or a number, but the expression ends", "a >\n   ^"},
		{"a > 3 AND\n\tb >> 2", "line 2, column 5: expected a property, a string or a number, found >", "\tb >> 2\n\t   ^"},
		{"ü = 3", "line 1, column 1: 'ü' is not known here", "ü = 3\n^"},
		{"a = 'ü' b", "line 1, column 9: expected AND, OR, an operator or the end, found b", "a = 'ü' b\n        ^"},
		{"a != 3", "line 1, column 3: ! is not known: not equal is <>, not is NOT", "a != 3\n  ^"},
		{`a = "x"`, `line 1, column 5: " is not known: strings are in single quotes`, "a = \"x\"\n    ^"},
		{"a || b", "line 1, column 3: | is not known: conditions are joined by AND and OR", "a || b\n  ^"},
		{"a = 'x", "line 1, column 5: the string has no end: a ' is missing", "a = 'x\n    ^"},
		{"a = /* 3", "line 1, column 5: the comment has no end: */ is missing", "a = /* 3\n    ^"},
		{"(a = 3", "line 1, column 1: this ( is not closed", "(a = 3\n^"},
		{"a = 3)", "line 1, column 6: this ) closes nothing", "a = 3)\n     ^"},
		{"a = NULL", "line 1, column 5: nothing equals NULL: write IS NULL or IS NOT NULL", "a = NULL\n    ^"},
		{"a > 'x'", "line 1, column 5: only numbers and properties have an order: this cannot be compared by size", "a > 'x'\n    ^"},
		{"a IN (3)", "line 1, column 7: expected a string in single quotes, found 3", "a IN (3)\n      ^"},
		{"3 IN ('3')", "line 1, column 1: expected a property before IN", "3 IN ('3')\n^"},
		{"a IS 3", "line 1, column 6: expected NULL or NOT NULL, found 3", "a IS 3\n     ^"},
		{"a NOT 3", "line 1, column 7: expected BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH after NOT, found 3", "a NOT 3\n      ^"},
		{"a BETWEEN 5 AND 1", "line 1, column 11: the lower bound is above the upper one", "a BETWEEN 5 AND 1\n          ^"},
		{"a BETWEEN 5", "line 1, column 12: expected AND and the upper bound, but the expression ends", "a BETWEEN 5\n           ^"},
		{"a = 1 AND 'x'", "line 1, column 11: expected a condition, found a value that is compared with nothing", "a = 1 AND 'x'\n          ^"},
		{"a = 99999999999999999999", "line 1, column 5: 99999999999999999999 does not fit 64 bits", "a = 99999999999999999999\n    ^"},
		{"a = 1e999", "line 1, column 5: 1e999 is not in the range of a double", "a = 1e999\n    ^"},
	} {
		_, err := Compile(c.text)
		require.EqualError(t, err, "filter: "+c.want, "%q", c.text)
		require.Equal(t, c.caret, err.(*Error).Caret(), "%q", c.text)
	}
}

func TestLimits(t *testing.T) {
	refused := func(text, why string) {
		t.Helper()
		_, err := Compile(text)
		require.ErrorContains(t, err, why)
	}
	fits := func(text string) {
		t.Helper()
		_, err := Compile(text)
		require.NoError(t, err)
	}
	long := "a = '" + strings.Repeat("x", MaxText-6) + "'"
	fits(long)
	refused(long+" ", "4097 bytes, at most 4096")
	deep := func(n int) string { return strings.Repeat("(", n) + "a" + strings.Repeat(")", n) }
	fits(deep(MaxDepth - 1))
	refused(deep(MaxDepth), "more than 64 levels")
	refused(strings.Repeat("NOT ", MaxDepth)+"a", "more than 64 levels")
	refused(strings.Repeat("- ", 1000)+"a = 1", "more than 64 levels")
	terms := func(n int) string { return strings.Repeat("a=b OR ", n-1) + "a=b" }
	fits(terms((MaxNodes - 1) / 3))
	refused(terms((MaxNodes-1)/3+1), "more than 512 operands and operators")
	refused(strings.Repeat("a=", 1000)+"a", "more than 512 operands and operators")
}

func TestOfARepeatedPropertyTheLastCounts(t *testing.T) {
	e, err := Compile("a = 'y'")
	require.NoError(t, err)
	require.True(t, e.Match(stored("a", "x", "a", "y")))
	require.False(t, e.Match(stored("a", "y", "a", "x")))
	require.True(t, e.Match(stored("a", "y", "a", "", "", "x")), "pairs without a value are none")
	require.True(t, e.Match([]byte("broken\x02a\x01y")))
}

func TestManyProperties(t *testing.T) {
	var terms, pairs []string
	for i := range 3 * few {
		terms = append(terms, fmt.Sprintf("p%d = '%d'", i, i))
		pairs = append(pairs, fmt.Sprintf("p%d", i), fmt.Sprint(i))
	}
	e, err := Compile(strings.Join(terms, " AND "))
	require.NoError(t, err)
	require.True(t, e.Match(stored(pairs...)))
	require.False(t, e.Match(stored(pairs[2:]...)))
}

// typical is an expression as applications have them, and a message's properties.
const typical = "(amount > 100 AND region IN ('eu', 'us') AND rate < 2.5) OR vip = TRUE OR TAGS STARTSWITH 'urgent'"

var order = stored("KEYS", "order-4711", "UNIQ_KEY", "7F00000100001234567890AB", "WAIT", "true", "amount", "250", "region", "us", "rate", "1.75", "TAGS", "paid")

func TestMatchAllocatesNothing(t *testing.T) {
	for _, text := range []string{typical, "a CONTAINS 'b' OR KEYS NOT ENDSWITH 'x' AND amount BETWEEN 1 AND 1000", "vip IN ('1','2','3','4','5','6','7','8','9')"} {
		e, err := Compile(text)
		require.NoError(t, err)
		require.Zero(t, testing.AllocsPerRun(100, func() { e.Match(order) }), text)
	}
}

func TestTags(t *testing.T) {
	require.Nil(t, ParseTags(""))
	require.Nil(t, ParseTags("*"))
	tags := ParseTags(" red || Aa||grün ||")
	for tag, want := range map[string]bool{"red": true, "Aa": true, "grün": true, "": false, "blue": false, "*": false} {
		require.Equal(t, want, tags.Match([]byte(tag)), tag)
	}
	require.True(t, tags.MatchHash(2112), "the hash of Aa")
	require.False(t, tags.Match([]byte("BB")), "which has the same")
	require.False(t, ParseTags("||").Match(nil))
}

func BenchmarkMatch(b *testing.B) {
	e, err := Compile(typical)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if !e.Match(order) {
			b.Fatal("it matches")
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		if _, err := Compile(typical); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTags(b *testing.B) {
	tags, tag := ParseTags("red||green||paid"), []byte("paid")
	for b.Loop() {
		if !tags.Match(tag) {
			b.Fatal("it matches")
		}
	}
}
