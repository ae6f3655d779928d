package conformance

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// envOracle switches the comparison with a real broker on.
	envOracle = "RAFTMQ_ORACLE"
	// envOracleJars names a folder that has the jars already.
	envOracleJars = "RAFTMQ_ORACLE_JARS"
	// envOraclePorts is the first of sixteen ports for the real broker.
	envOraclePorts = "RAFTMQ_ORACLE_PORT_BASE"
)

// realBroker is a name server and a broker of RocketMQ.
type realBroker struct{ nameServer, broker string }

// startRealBroker starts both; the test is passed over where that is not possible.
func startRealBroker(t *testing.T) realBroker {
	t.Helper()
	if os.Getenv(envOracle) != "1" {
		t.Skip("a comparison with RocketMQ's own broker: set " + envOracle + "=1")
	}
	java, err := exec.LookPath("java")
	if err != nil {
		t.Skip("no java")
	}
	dir := t.TempDir()
	jars := os.Getenv(envOracleJars)
	if jars == "" {
		mvn, err := exec.LookPath("mvn")
		if err != nil {
			t.Skip("no mvn to fetch RocketMQ with, and " + envOracleJars + " names no folder that has it")
		}
		jars = filepath.Join(dir, "lib")
		out, err := exec.Command(mvn, "-q", "-B", "-f", filepath.Join("oracle", "pom.xml"), "dependency:copy-dependencies", "-DoutputDirectory="+jars).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	base := freePorts()
	if s := os.Getenv(envOraclePorts); s != "" {
		base, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	const logging = `<configuration><appender name="A" class="ch.qos.logback.core.FileAppender"><file>%s</file>
<encoder><pattern>%%d{HH:mm:ss.SSS} %%p %%c{1} %%m%%n</pattern></encoder></appender><root level="WARN"><appender-ref ref="A"/></root></configuration>`
	for _, name := range []string{"broker", "namesrv"} {
		write("conf/rmq."+name+".logback.xml", fmt.Sprintf(logging, filepath.Join(dir, name+".log")))
	}
	r := realBroker{nameServer: fmt.Sprint("127.0.0.1:", base), broker: fmt.Sprint("127.0.0.1:", base+10)}
	names := write("conf/namesrv.conf", fmt.Sprintf(`listenPort=%d
bindAddress=127.0.0.1
kvConfigPath=%s/kvConfig.json
configStorePath=%[2]s/namesrv.properties
`, base, dir))
	// Small files; no refusals because the machine is slow; transactions are asked about soon.
	conf := write("conf/broker.conf", fmt.Sprintf(`brokerClusterName=%s
brokerName=broker-a
brokerId=0
brokerIP1=127.0.0.1
brokerIP2=127.0.0.1
bindAddress=127.0.0.1
namesrvAddr=%s
listenPort=%d
haListenPort=%d
storePathRootDir=%[5]s/store
storePathCommitLog=%[5]s/store/commitlog
mappedFileSizeCommitLog=16777216
mappedFileSizeConsumeQueue=600000
mappedFileSizeTimerLog=1048576
maxHashSlotNum=10000
maxIndexNum=40000
diskMaxUsedSpaceRatio=95
enablePropertyFilter=true
autoCreateTopicEnable=true
autoCreateSubscriptionGroup=true
brokerFastFailureEnable=false
osPageCacheBusyTimeOutMills=120000
recallMessageEnable=true
transactionTimeOut=2000
transactionCheckInterval=3000
timerMaxDelaySec=259200
`, "oracle", r.nameServer, base+10, base+11, dir))
	start := func(name, main, addr, conf string, heap ...string) {
		args := append(heap, "-Duser.home="+dir, "-Drmq.logback.configurationFile="+filepath.Join(dir, "conf", "rmq."+name+".logback.xml"),
			"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:MaxDirectMemorySize=512m",
			"--add-opens=java.base/java.nio=ALL-UNNAMED", "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED", "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
			"-cp", filepath.Join(jars, "*"), main, "-c", conf)
		cmd := exec.Command(java, args...)
		cmd.Env = append(os.Environ(), "ROCKETMQ_HOME="+dir)
		cmd.SysProcAttr = childAttr()
		log, err := os.Create(filepath.Join(dir, name+".out"))
		require.NoError(t, err)
		defer log.Close()
		cmd.Stdout, cmd.Stderr = log, log
		require.NoError(t, cmd.Start())
		ended := make(chan struct{})
		go func() {
			cmd.Wait()
			close(ended)
		}()
		said := func() string {
			b, _ := os.ReadFile(filepath.Join(dir, name+".out"))
			return fmt.Sprintf("%s: %.2000s", name, b)
		}
		t.Cleanup(func() {
			cmd.Process.Signal(syscall.SIGKILL)
			<-ended
			if t.Failed() {
				t.Log(said())
			}
		})
		for until := time.Now().Add(5 * time.Minute); ; time.Sleep(time.Second) {
			select {
			case <-ended:
				t.Fatal("ended by itself: " + said())
			default:
			}
			nc, err := net.Dial("tcp", addr)
			if err == nil {
				nc.Close()
				return
			}
			require.True(t, time.Now().Before(until), "nobody listens at %s: %s", addr, said())
		}
	}
	start("namesrv", "org.apache.rocketmq.namesrv.NamesrvStartup", r.nameServer, names, "-Xms64m", "-Xmx256m")
	start("broker", "org.apache.rocketmq.broker.BrokerStartup", r.broker, conf, "-Xms256m", "-Xmx768m")
	return r
}

// freePorts is a first port from which on those that the broker takes are free: of the name
// server, and 8 to 11 above that.
func freePorts() int {
	for {
		base := 20000 + rand.IntN(800)*16
		free := true
		for _, p := range []int{0, 8, 10, 11} {
			l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", base+p))
			if err != nil {
				free = false
				break
			}
			l.Close()
		}
		if free {
			return base
		}
	}
}
