package conformance

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// javaVersions of org.apache.rocketmq:rocketmq-client: the last that speaks 4.x,
// and one of 5.x.
var javaVersions = []string{"4.9.8", "5.4.0"}

// RocketMQ's own Java clients, unmodified: java/ has a check for each feature. They
// come from Maven's repository, with mvn and a JDK of 17 or later; without those it
// is passed over, unless RAFTMQ_JAVA is set.
func TestJavaClients(t *testing.T) {
	for _, version := range javaVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			j := buildJava(t, version)
			j.run(t, nil)
		})
	}
}

// As TestNothingAcknowledgedIsLostWhileNodesAreKilled, by Java's clients: sends of
// every kind, keys in their order, delays and transactions.
func TestJavaClientsLoseNothingWhileNodesAreKilled(t *testing.T) {
	kills := 6
	if s := os.Getenv("RAFTMQ_KILLS"); s != "" {
		var err error
		kills, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	for _, version := range javaVersions {
		t.Run(version, func(t *testing.T) {
			j := buildJava(t, version)
			j.run(t, func() {
				time.Sleep(5 * time.Second)
				for i := range max(2, kills/2) {
					n := cluster.nodes[i%len(cluster.nodes)]
					cluster.tell(t, "kill", n)
					time.Sleep(2 * time.Second)
					cluster.tell(t, "restart", n)
					time.Sleep(2 * time.Second)
				}
			}, "NothingAcknowledgedIsLostWhileNodesAreKilled")
		})
	}
}

// javaClients is the program of java/, built with one version of the client.
type javaClients struct{ classPath string }

func buildJava(t *testing.T, version string) javaClients {
	for _, tool := range []string{"mvn", "javac", "java"} {
		if _, err := exec.LookPath(tool); err != nil && os.Getenv("RAFTMQ_JAVA") == "" {
			t.Skipf("there is no %s on this machine", tool)
		}
	}
	dir := t.TempDir()
	jars, classes := filepath.Join(dir, "jars"), filepath.Join(dir, "classes")
	tool(t, "mvn", "-q", "-B", "-f", filepath.Join("java", "pom.xml"), "-Drocketmq="+version, "dependency:copy-dependencies", "-DoutputDirectory="+jars)
	sources, err := filepath.Glob(filepath.Join("java", "src", "main", "java", "raftmq", "*.java"))
	require.NoError(t, err)
	require.NotEmpty(t, sources)
	tool(t, "javac", append([]string{"-nowarn", "-d", classes, "-cp", filepath.Join(jars, "*")}, sources...)...)
	resources := filepath.Join("java", "src", "main", "resources")
	return javaClients{strings.Join([]string{resources, classes, filepath.Join(jars, "*")}, string(filepath.ListSeparator))}
}

func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	require.NoError(t, err, "%s: %s", name, out)
}

// run runs the checks that are named, or all; each is a subtest. meanwhile runs
// once the first has begun, and the program is told when it has returned.
func (j javaClients) run(t *testing.T, meanwhile func(), checks ...string) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	// Below its home the client writes logs, and offsets of broadcasting.
	args := []string{"-Xmx512m", "-Duser.home=" + t.TempDir(), "-cp", j.classPath, "raftmq.Main", strings.Join(cluster.endpoints(), ";")}
	cmd := exec.CommandContext(ctx, "java", append(args, checks...)...)
	cmd.SysProcAttr = childAttr()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var trace strings.Builder
	ran := 0
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		verb, rest, _ := strings.Cut(lines.Text(), " ")
		name, _, _ := strings.Cut(rest, " ")
		switch verb {
		case "begin":
			trace.Reset()
			if meanwhile != nil {
				meanwhile()
				_, err := io.WriteString(stdin, "enough\n")
				require.NoError(t, err)
			}
		case "ok", "failed":
			ran++
			t.Run(name, func(t *testing.T) {
				t.Log(rest, "s")
				require.Equal(t, "ok", verb, "%s", trace.String())
			})
		case "note":
			t.Log(rest)
		default:
			trace.WriteString(lines.Text() + "\n")
		}
	}
	if err := cmd.Wait(); !t.Failed() {
		require.NoError(t, err, "%s", stderr.String())
	}
	require.NotZero(t, ran, "%s", stderr.String())
}
