package broker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/remoting"
)

// Which replica may be declared the one that counts, and that it may be said again to who was away.
func TestWhichReplicaMayCount(t *testing.T) {
	sound := func(n string) remoting.ReplicaLook { return remoting.ReplicaLook{Node: n} }
	disputed := func(n string) remoting.ReplicaLook {
		return remoting.ReplicaLook{Node: n, Disputed: true, Reason: "disputed"}
	}
	copied := func(n string) remoting.ReplicaLook {
		return remoting.ReplicaLook{Node: n, Whole: true, Reason: "to be copied whole"}
	}
	silent := func(n string) remoting.ReplicaLook { return remoting.ReplicaLook{Node: n, Silent: true} }
	for _, c := range []struct {
		looks []remoting.ReplicaLook
		why   string // of n2
	}{
		{[]remoting.ReplicaLook{disputed("n1"), disputed("n2"), disputed("n3")}, ""},
		{[]remoting.ReplicaLook{disputed("n1"), disputed("n2"), silent("n3")}, ""},
		{[]remoting.ReplicaLook{sound("n1"), sound("n2"), disputed("n3")}, ""},
		{[]remoting.ReplicaLook{copied("n1"), sound("n2"), disputed("n3")}, ""},
		{[]remoting.ReplicaLook{sound("n1"), disputed("n2"), disputed("n3")}, "n1 is sound"},
		{[]remoting.ReplicaLook{sound("n1"), sound("n2"), sound("n3")}, "n1 is sound"},
		{[]remoting.ReplicaLook{copied("n1"), sound("n2"), copied("n3")}, "not disputed"},
		{[]remoting.ReplicaLook{disputed("n1"), copied("n2"), disputed("n3")}, "not sound either"},
		{[]remoting.ReplicaLook{disputed("n1"), silent("n2"), disputed("n3")}, "does not answer"},
		{[]remoting.ReplicaLook{disputed("n1"), disputed("n3")}, "has no replica"},
	} {
		why := mayCount(c.looks, "n2")
		if c.why == "" {
			require.Empty(t, why, "%+v", c.looks)
			continue
		}
		require.Contains(t, why, c.why, "%+v", c.looks)
	}
}
