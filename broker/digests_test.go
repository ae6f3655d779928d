package broker

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A majority is of the voters, not of those that answered; without one it takes the
// answers of all to say so.
func TestAMajorityOfTheVotersIsRight(t *testing.T) {
	a, b, c := digestAnswer{Log: 1, State: 1}, digestAnswer{Log: 1, State: 2}, digestAnswer{Log: 2, State: 1}
	for _, x := range []struct {
		voters  int
		answers []digestAnswer
		differ  bool
		want    verdict
	}{
		{3, nil, false, verdict{}},
		{3, []digestAnswer{a}, false, verdict{}},
		{3, []digestAnswer{a, a, a}, false, verdict{}},
		{3, []digestAnswer{a, a, b}, true, verdict{Log: 1, State: 1}},
		{3, []digestAnswer{c, a, c}, true, verdict{Log: 2, State: 1}},
		{3, []digestAnswer{a, b}, true, verdict{}},
		{3, []digestAnswer{a, b, c}, true, verdict{Disputed: true}},
		{2, []digestAnswer{a, b}, true, verdict{Disputed: true}},
		{5, []digestAnswer{a, a, b}, true, verdict{}},
		{5, []digestAnswer{a, a, b, a}, true, verdict{Log: 1, State: 1}},
		{5, []digestAnswer{a, a, b, b, c}, true, verdict{Disputed: true}},
	} {
		answers := make(map[string]digestAnswer)
		for i, d := range x.answers {
			answers[string(rune('a'+i))] = d
		}
		v, differ := tally(x.voters, answers)
		require.Equal(t, x.differ, differ, "%v", x)
		require.Equal(t, x.want, v, "%v", x)
	}
}
