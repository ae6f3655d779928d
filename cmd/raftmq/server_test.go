package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"raftmq/broker"
)

func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "n1.yaml")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o640))
	return name
}

// filled reads flags over the environment over the file.
func filled(t *testing.T, yaml string, args ...string) (settings, error) {
	t.Helper()
	var s settings
	f := pflag.NewFlagSet("server", pflag.ContinueOnError)
	s.flags(f)
	require.NoError(t, f.Parse(args))
	_, err := fill(f, file(t, yaml))
	return s, err
}

func TestFlagsWinOverTheEnvironmentAndThatOverTheFile(t *testing.T) {
	t.Setenv("RAFTMQ_NODE", "from-env")
	t.Setenv("RAFTMQ_RAFT_PORT", "2")
	t.Setenv("RAFTMQ_GOSSIP_PORT", "2")
	t.Setenv("RAFTMQ_HTTP_PORT", "tcp://10.0.0.1:80") // of a service raftmq-http, by Kubernetes
	s, err := filled(t, "cluster: from-file\nnode: from-file\nraft-port: 3\ngossip-port: 3\nhttp-port: 3\njoin: [a:1, b:2]\nauto-create-topics: true\nwrite-deadline: 7s\nhost: # the default\n", "--gossip-port", "1")
	require.NoError(t, err)
	require.Equal(t, "from-file", s.Cluster)
	require.Equal(t, "from-env", s.Node)
	require.Equal(t, []int{1, 2, 3}, []int{s.Gossip, s.Raft, s.HTTP})
	require.Equal(t, []string{"a:1", "b:2"}, s.Join)
	require.True(t, s.AutoCreateTopics)
	require.Equal(t, "7s", s.WriteDeadline.String())
	require.Equal(t, "127.0.0.1", s.Host)
	require.Equal(t, 9876, s.NameServer)

	for _, empty := range []string{"", "# only this\n", "---\n"} {
		_, err := filled(t, empty)
		if empty != "---\n" {
			require.NoError(t, err, "%q", empty)
		}
	}
}

func TestAWrongFileIsRefusedWithItsLine(t *testing.T) {
	for _, c := range []struct{ yaml, want string }{
		{"node: n1\nnameserver-prt: 1\n", `n1.yaml:2:1: unknown key "nameserver-prt"; did you mean nameserver-port?`},
		{"endpoint: a:1\n", `n1.yaml:1:1: unknown key "endpoint"`},
		{"config: other\n", `n1.yaml:1:1: unknown key "config"`},
		{"help: true\n", `n1.yaml:1:1: unknown key "help"`},
		{"node: a\n\nnode: b\n", "n1.yaml:3:1: node is set twice"},
		{"node: a\nraft-port: many\n", "n1.yaml:2:1"},
		{"join:\n  a: b\n", "n1.yaml:1:1: join: neither a value nor a list"},
		{"join: [[a]]\n", "n1.yaml:1:1: join: a list of other than values"},
		{"- node\n", "not a mapping"},
		{"node: a\n---\nnode: b\n", "more than one document"},
		{"node: [\n", "n1.yaml"},
	} {
		_, err := filled(t, c.yaml)
		require.ErrorIs(t, err, broker.ErrConfig, c.yaml)
		require.ErrorContains(t, err, c.want, c.yaml)
	}
	t.Setenv("RAFTMQ_HTTP_PORT", "x")
	_, err := filled(t, "node: n1\n")
	require.ErrorContains(t, err, "RAFTMQ_HTTP_PORT")
}

func TestAGossipKeyIsReadFromItsFile(t *testing.T) {
	key, err := readKey(file(t, "MDEyMzQ1Njc4OWFiY2RlZg==\n"))
	require.NoError(t, err)
	require.Equal(t, "0123456789abcdef", string(key))
	for _, bad := range []string{"", "c2hvcnQ=", "not base64"} {
		_, err := readKey(file(t, bad))
		require.ErrorIs(t, err, broker.ErrConfig, bad)
	}
	key, err = readKey("")
	require.NoError(t, err)
	require.Nil(t, key)
}

func TestConfigIsCheckedAndShownWithItsOrigin(t *testing.T) {
	name := file(t, "node: n1\ndata: /d\nraft-port: 3\n")
	t.Setenv("RAFTMQ_GOSSIP_PORT", "4")
	code, out, errs := raftmq(t, "config", "show", "--origin", "--config", name, "--http-port", "5", "-o", "json")
	require.Zero(t, code, errs)
	var rows []struct{ Setting, Value, Origin string }
	require.NoError(t, json.Unmarshal([]byte(out), &rows))
	got := make(map[string][2]string)
	for _, r := range rows {
		got[r.Setting] = [2]string{r.Value, r.Origin}
	}
	require.Equal(t, [2]string{"3", name + ":3:1"}, got["raft-port"])
	require.Equal(t, [2]string{"4", "RAFTMQ_GOSSIP_PORT"}, got["gossip-port"])
	require.Equal(t, [2]string{"5", "--http-port"}, got["http-port"])
	require.Equal(t, [2]string{"9876", "default"}, got["nameserver-port"])

	code, _, errs = raftmq(t, "config", "check", "--config", name)
	require.Zero(t, code, errs)
	for yaml, says := range map[string]string{
		"data: /d\n":                                        "node name",
		"node: n1\ndata: /d\nhost: 0.0.0.0\n":               "advertise",
		"node: n1\ndata: /d\nlog-format: xml\n":             "log format",
		"node: n1\ndata: /d\nslots: 0\nmax-body: 9999999\n": "body",
		"node: n1\ndata: /d\ninitial-nodes: [n2]\n":         "initial nodes",
		"node: n1\ndata: /d\ngossip-key-file: /no\n":        "gossip key",
		"node: n1\ndata: /d\nadvertise: 10.0.0.1:10700\n":   "advertise is 10.0.0.1:10700",
		"node: n1\ndata: /d\nheartbeat: 1ms\n":              "heartbeat",
	} {
		code, _, errs := raftmq(t, "config", "check", "--config", file(t, yaml))
		require.Equal(t, exitUsage, code, yaml)
		require.Contains(t, errs, says, yaml)
	}
}

// What is shown is what counts, where a setting is 0 or follows from another, too.
func TestConfigIsShownAsAServerTakesIt(t *testing.T) {
	name := file(t, "node: n1\ndata: /d\nhost: 10.0.0.1\nretention: 0\ndisk-clean-at: 0\nwal-segments: 0\nhttp-port: -1\njoin: 'a:1, b:2'\n")
	code, out, errs := raftmq(t, "config", "show", "--config", name, "-o", "json")
	require.Zero(t, code, errs)
	var rows []struct{ Setting, Value string }
	require.NoError(t, json.Unmarshal([]byte(out), &rows))
	got := make(map[string]string)
	for _, r := range rows {
		got[r.Setting] = r.Value
	}
	for setting, want := range map[string]string{"retention": "72h0m0s", "disk-clean-at": "75", "wal-segments": "8", "advertise": "10.0.0.1", "wal-dir": "/d/wal", "http-port": "-1", "raft-port": "10800", "join": "a:1,b:2"} {
		require.Equal(t, want, got[setting], setting)
	}
}

func TestTheConfigurationReferenceIsTrue(t *testing.T) {
	b, err := os.ReadFile("../../docs/configuration.md")
	require.NoError(t, err)
	require.Equal(t, configReference(), string(b), "write it anew: go run ./cmd/raftmq config reference > docs/configuration.md")
}
