package membership

import (
	"bytes"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
)

// Addresses of settings are called each second, for as long as nobody answers. One that cannot be resolved is no warning a second.
func TestAnAddressThatCannotBeResolvedFillsNoLog(t *testing.T) {
	var out bytes.Buffer
	m, err := Open(Config{Self: Node{Name: "a", Incarnation: 1}, Bind: "127.0.0.1:0", Cluster: "c", Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: &out})})
	require.NoError(t, err)
	for range 5 {
		for _, addr := range []string{"n2:nowhere", "n3:nowhere"} { // no number: no name server is asked
			_, err := m.Join([]string{addr})
			require.ErrorContains(t, err, "failed to resolve "+addr)
		}
	}
	require.NoError(t, m.Close())
	lines := map[string]int{}
	for line := range strings.Lines(out.String()) {
		for _, level := range []string{"[WARN]", "[DEBUG]"} {
			for _, addr := range []string{"n2", "n3"} {
				if strings.Contains(line, level) && strings.Contains(line, "failed to resolve "+addr+":nowhere") {
					lines[level+addr]++
				}
			}
		}
	}
	require.Equal(t, map[string]int{"[WARN]n2": 1, "[WARN]n3": 1, "[DEBUG]n2": 4, "[DEBUG]n3": 4}, lines)
}
