package message

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func propertiesOf(kv ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(kv); i += 2 {
			if kv[i] == name {
				return kv[i+1]
			}
		}
		return ""
	}
}

func TestTheFirstRuleThatMatchesChooses(t *testing.T) {
	p, err := ParsePlacement("tag=vip:5;\n key=order-* : 0-1 ; property region=a=b : 2; key : all")
	require.NoError(t, err)
	require.Equal(t, 4, p.Rules())
	for _, x := range []struct {
		props []string
		rule  int
		in    []int
	}{
		{[]string{"TAGS", "vip", "KEYS", "order-1"}, 1, []int{5}},
		{[]string{"TAGS", "vipp", "KEYS", "order-1 other"}, 2, []int{0, 1}},
		{[]string{"region", "a=b"}, 3, []int{2}},
		{[]string{"KEYS", "x"}, 4, []int{0, 1, 2, 3, 4, 5}},
		{[]string{"region", "a"}, 0, nil},
		{nil, 0, nil},
	} {
		q, rule, ok := p.Choose(propertiesOf(x.props...), 6)
		require.Equal(t, x.rule, rule, x.props)
		require.Equal(t, x.rule > 0, ok)
		if ok {
			require.Contains(t, x.in, q)
		}
	}
	require.ErrorContains(t, p.Check(5), "rule 1 names queue 5")
	require.NoError(t, p.Check(6))
	_, _, ok := p.Choose(propertiesOf("TAGS", "vip"), 5)
	require.False(t, ok, "a queue that is not there is nobody's")

	// One key has one queue; many have all of them.
	all := make(map[int]int)
	for i := range 600 {
		key := fmt.Sprintf("k%d", i)
		q, _, _ := p.Choose(propertiesOf("KEYS", key), 6)
		again, _, _ := p.Choose(propertiesOf("KEYS", key+" more"), 6)
		require.Equal(t, q, again)
		all[q]++
	}
	require.Len(t, all, 6)
	for q, n := range all {
		require.Greater(t, n, 50, "queue %d", q)
	}
	// The hash is part of the promise: it must not change between versions.
	q, _, _ := p.Choose(propertiesOf("KEYS", "order-17"), 6)
	require.Equal(t, 0, q)
}

func TestABadRuleIsRefusedWithItsPlace(t *testing.T) {
	for text, want := range map[string]string{
		"key":               "rule 1, at character 1",
		"key : all; tag":    "rule 2, at character 12",
		"keys : all":        `rule 1, at character 1: "keys"`,
		"key = : 1":         "rule 1, at character 6: the value is empty",
		"key : x":           "rule 1, at character 6",
		"key : 3-1":         "rule 1, at character 6",
		"key : -1":          "rule 1, at character 6",
		"property : 1":      "rule 1, at character 1",
		"key=a,b : 1":       "rule 1, at character 6: a comma",
		"tag=a : 1; key : ": "rule 2, at character 17",
	} {
		_, err := ParsePlacement(text)
		require.ErrorIs(t, err, ErrPlacement, text)
		require.ErrorContains(t, err, want)
	}
	many := ""
	for range MaxPlacementRules {
		many += "key:1;"
	}
	_, err := ParsePlacement(many)
	require.NoError(t, err)
	_, err = ParsePlacement(many + "key:1")
	require.ErrorContains(t, err, "rule 65")
	_, err = ParsePlacement(string(make([]byte, MaxPlacementText+1)))
	require.ErrorIs(t, err, ErrPlacement)
}

func FuzzParsePlacement(f *testing.F) {
	f.Add("tag=vip:5;key=order-*:0-1;property region=a : 2; key : all", "order-1", 6)
	f.Add(";;=:=", "", -1)
	f.Fuzz(func(t *testing.T, text, value string, queues int) {
		p, err := ParsePlacement(text)
		if err != nil {
			require.ErrorIs(t, err, ErrPlacement)
			return
		}
		q, rule, ok := p.Choose(func(string) string { return value }, queues)
		if ok {
			require.True(t, q >= 0 && q < queues && rule > 0 && rule <= p.Rules())
		}
	})
}
