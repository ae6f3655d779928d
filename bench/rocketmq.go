package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"raftmq/internal/ports"
)

// rocketCluster is a name server and three brokers of RocketMQ, each a process.
type rocketCluster struct {
	l          *lab
	dir        string
	nameServer string
	processes  []*rocketProcess // the name server is the first
}

type rocketProcess struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{}
}

// rocketKind is how three brokers keep the same messages.
type rocketKind int

const (
	// rocketDledger: RocketMQ's Raft. A majority has a message in memory before it is acknowledged; each syncs later.
	rocketDledger rocketKind = iota
	// rocketSync: a master that syncs each message, and two slaves of which one has it, not synced, before it is acknowledged.
	// What a master that is lost for good had acknowledged, nobody may have; and no slave takes its place.
	rocketSync
)

// Ports of the brokers, from each one's first: for clients, for old ones, for slaves, for Raft.
const (
	rocketFast   = 0
	rocketListen = 2
	rocketHA     = 3
	rocketRaft   = 4
	rocketPorts  = 8
)

// rocketHeap and the rest are what RocketMQ's own scripts start a broker with, its heap of 8 GB apart.
var rocketHeap = []string{
	"-server", "-Xms2g", "-Xmx2g", "-XX:+UseG1GC", "-XX:G1HeapRegionSize=16m", "-XX:G1ReservePercent=25", "-XX:InitiatingHeapOccupancyPercent=30",
	"-XX:SoftRefLRUPolicyMSPerMB=0", "-XX:-OmitStackTraceInFastThrow", "-XX:+AlwaysPreTouch", "-XX:MaxDirectMemorySize=2g", "-XX:-UseLargePages",
}

func startRocketMQ(ctx context.Context, l *lab, kind rocketKind) (c *rocketCluster, err error) {
	for range foundingTries {
		if c, err = foundRocketMQ(ctx, l, kind); err == nil || ctx.Err() != nil {
			break
		}
	}
	return c, err
}

func foundRocketMQ(ctx context.Context, l *lab, kind rocketKind) (_ *rocketCluster, err error) {
	runtime.LockOSThread() // the children end with their thread
	dir, err := os.MkdirTemp(l.dir, "rocketmq-")
	if err != nil {
		return nil, err
	}
	c := &rocketCluster{l: l, dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.stop())
		}
	}()
	base, err := ports.InARow(4 * rocketPorts)
	if err != nil {
		return nil, err
	}
	c.nameServer = fmt.Sprint("127.0.0.1:", base)
	names := fmt.Sprintf("listenPort=%d\nbindAddress=127.0.0.1\nkvConfigPath=%s/kvConfig.json\nconfigStorePath=%[2]s/namesrv.properties\n", base, dir)
	if err := c.start("namesrv", "org.apache.rocketmq.namesrv.NamesrvStartup", names, []string{"-Xms256m", "-Xmx256m"}); err != nil {
		return nil, err
	}
	if err := c.listens(ctx, c.nameServer); err != nil {
		return nil, err
	}
	var peers []string
	for i := range 3 {
		peers = append(peers, fmt.Sprintf("n%d-127.0.0.1:%d", i, base+(i+1)*rocketPorts+rocketRaft))
	}
	for i := range 3 {
		first := base + (i+1)*rocketPorts
		conf := rocketConfig(kind, i, first, strings.Join(peers, ";"), c.nameServer, filepath.Join(dir, fmt.Sprint("n", i)))
		if err := c.start(fmt.Sprint("n", i), "org.apache.rocketmq.broker.BrokerStartup", conf, rocketHeap); err != nil {
			return nil, err
		}
		if err := c.listens(ctx, fmt.Sprint("127.0.0.1:", first+rocketListen)); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// rocketConfig is a broker's file: RocketMQ's defaults, but that it may not refuse because it is slow or the disk is full.
func rocketConfig(kind rocketKind, i, first int, peers, nameServer, store string) string {
	conf := fmt.Sprintf(`brokerClusterName=bench
brokerName=broker-a
brokerIP1=127.0.0.1
brokerIP2=127.0.0.1
bindAddress=127.0.0.1
namesrvAddr=%s
listenPort=%d
haListenPort=%d
storePathRootDir=%s
storePathCommitLog=%[4]s/commitlog
diskMaxUsedSpaceRatio=95
brokerFastFailureEnable=false
osPageCacheBusyTimeOutMills=120000
`, nameServer, first+rocketListen, first+rocketHA, store)
	if kind == rocketDledger {
		return conf + fmt.Sprintf("enableDLegerCommitLog=true\ndLegerGroup=broker-a\ndLegerPeers=%s\ndLegerSelfId=n%d\nsendMessageThreadPoolNums=16\n", peers, i)
	}
	role := "SYNC_MASTER"
	if i > 0 {
		role = "SLAVE"
	}
	return conf + fmt.Sprintf("brokerId=%d\nbrokerRole=%s\nflushDiskType=SYNC_FLUSH\ninSyncReplicas=2\n", i, role)
}

func (c *rocketCluster) start(name, main, conf string, heap []string) error {
	const logging = `<configuration><appender name="A" class="ch.qos.logback.core.FileAppender"><file>%s</file>
<encoder><pattern>%%d{HH:mm:ss.SSS} %%p %%c{1} %%m%%n</pattern></encoder></appender><root level="WARN"><appender-ref ref="A"/></root></configuration>`
	home := filepath.Join(c.dir, name+".home")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return err
	}
	file, logs := filepath.Join(home, "conf"), filepath.Join(home, "logback.xml")
	if err := errors.Join(os.WriteFile(file, []byte(conf), 0o644), os.WriteFile(logs, fmt.Appendf(nil, logging, filepath.Join(home, "log")), 0o644)); err != nil {
		return err
	}
	out, err := os.Create(c.said(name))
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command("java", append(heap[:len(heap):len(heap)], "-Duser.home="+home, "-Drmq.logback.configurationFile="+logs,
		"--add-opens=java.base/java.nio=ALL-UNNAMED", "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED", "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
		"-cp", filepath.Join(c.l.rocketmq, "*"), main, "-c", file)...)
	cmd.Env = append(os.Environ(), "ROCKETMQ_HOME="+home)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = childAttr()
	if err := cmd.Start(); err != nil {
		return err
	}
	p := &rocketProcess{name: name, cmd: cmd, ended: make(chan struct{})}
	c.processes = append(c.processes, p)
	go func() { // ends with the process, which stop waits for
		cmd.Wait()
		close(p.ended)
	}()
	return nil
}

func (c *rocketCluster) said(name string) string { return filepath.Join(c.dir, name+".out") }

// listens waits until the process that was started last does.
func (c *rocketCluster) listens(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	p := c.processes[len(c.processes)-1]
	for {
		nc, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return nc.Close()
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended: %s", p.name, c.lastWords(p.name))
		default:
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return fmt.Errorf("%s does not listen at %s: %w: %s", p.name, addr, err, c.lastWords(p.name))
		}
	}
}

func (c *rocketCluster) lastWords(name string) string {
	b, _ := os.ReadFile(c.said(name))
	return strings.TrimSpace(string(b[max(0, len(b)-1000):]))
}

// pids are the brokers'.
func (c *rocketCluster) pids() (pids []int) {
	for _, p := range c.processes[1:] {
		pids = append(pids, p.cmd.Process.Pid)
	}
	return pids
}

func (c *rocketCluster) stop() error {
	for _, p := range c.processes {
		p.cmd.Process.Signal(syscall.SIGKILL)
		<-p.ended
	}
	return os.RemoveAll(c.dir)
}

// rocketVersion is that of a folder's jars.
func rocketVersion(dir string) string {
	names, _ := filepath.Glob(filepath.Join(dir, "rocketmq-broker-*.jar"))
	if len(names) == 0 {
		return ""
	}
	return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(names[0]), "rocketmq-broker-"), ".jar")
}
