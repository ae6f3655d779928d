package message

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// A message may have properties as long as can be: what was put back is buried all the same, with as much of what is said of it
// as there is room for.
func TestWhatWasPutBackCanBeBuried(t *testing.T) {
	const topic, id, now = "orders", "7F00000100002A9F0000000000000000", 1700000000000
	reason := strings.Repeat("\u00e9", MaxReason)
	parts := map[string]bool{}
	for n := MaxProperties - 1000; n <= MaxProperties; n++ {
		props := string(AppendProperty(nil, "k", strings.Repeat("v", n-propertySize("k", ""))))
		require.Len(t, props, n)
		back := Retried(props, topic, id)
		require.LessOrEqual(t, len(back), MaxProperties)
		require.True(t, strings.HasPrefix(back, props))
		at, ok := property(back, PropRetryTopic)
		require.Equal(t, n <= MaxProperties-propertySize(PropRetryTopic, topic), ok)
		require.True(t, !ok || at == topic)
		dead := Buried(back, reason, now)
		require.LessOrEqual(t, len(dead), MaxProperties)
		require.True(t, strings.HasPrefix(dead, back))
		p := ParseProperties(dead)
		require.True(t, utf8.ValidString(p[PropDLQReason]))
		require.True(t, strings.HasPrefix(reason, p[PropDLQReason]))
		if len(p[PropDLQReason]) < MaxReason {
			require.Greater(t, len(dead)+propertySize(PropDLQReason, "")+2, MaxProperties, "there was room for more")
		}
		for _, name := range []string{PropOriginID, PropDLQTopic, PropDLQID, PropDLQReason, PropDLQTime} {
			parts[name] = parts[name] || p[name] == ""
		}
		again, named := Unburied(dead, topic)
		require.Equal(t, ok, named, "there is no room for the topic's name either")
		require.True(t, !ok || again == back)
	}
	for name, lacked := range parts {
		require.True(t, lacked, name)
	}
	all := ParseProperties(Buried(Retried("k\x01v\x02", topic, id), reason, now))
	require.Equal(t, map[string]string{
		"k": "v", PropRetryTopic: topic, PropOriginID: id, PropDLQTopic: topic, PropDLQID: id, PropDLQReason: reason[:MaxReason], PropDLQTime: "1700000000000",
	}, all)
}
