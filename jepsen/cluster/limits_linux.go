package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FilesCanBeLimited says why a process's open files cannot be limited here; nil: they can.
func FilesCanBeLimited() error { return nil }

// OpenFiles is how many files and connections the process has open.
func (n *Node) OpenFiles() (int, error) {
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.PID()))
	return len(names), err
}

// LimitFiles lets the process have no more than so many files and connections open, and
// returns how many it might have before.
func (n *Node) LimitFiles(most uint64) (before uint64, err error) {
	pid := n.PID()
	if pid == 0 {
		return 0, fmt.Errorf("%s does not run", n.Name)
	}
	var old unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		return 0, err
	}
	return old.Cur, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: min(most, old.Max), Max: old.Max}, nil)
}

// cgroup is a control group of ours for a process's memory: of version 1, or of version 2
// below a group whose children have the controller.
type cgroup struct {
	dir                   string
	limit, rejected, pids string // files
}

func memoryGroup(name string) (cgroup, error) {
	mine, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return cgroup{}, err
	}
	for l := range strings.Lines(string(mine)) { // number:controllers:path
		f := strings.SplitN(strings.TrimSpace(l), ":", 3)
		var g cgroup
		switch { // below the group that this program is in: whatever limits that still counts
		case len(f) == 3 && f[1] == "memory":
			g = cgroup{filepath.Join("/sys/fs/cgroup/memory", f[2], name), "memory.limit_in_bytes", "memory.failcnt", "cgroup.procs"}
		case len(f) == 3 && f[1] == "":
			g = cgroup{filepath.Join("/sys/fs/cgroup", f[2], name), "memory.max", "memory.events", "cgroup.procs"}
		default:
			continue
		}
		if err := os.Mkdir(g.dir, 0o755); err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(g.dir, g.limit)); err == nil {
			return g, nil
		}
		os.Remove(g.dir)
	}
	return cgroup{}, errors.New("no control group with a limit of memory can be made: it takes root, and the memory controller")
}

func (g cgroup) write(file, value string) error {
	return os.WriteFile(filepath.Join(g.dir, file), []byte(value), 0o644)
}

func (g cgroup) read(file string) string {
	b, _ := os.ReadFile(filepath.Join(g.dir, file))
	return strings.TrimSpace(string(b))
}

// MemoryCanBeLimited says why a process's memory cannot be limited here; nil: it can.
func MemoryCanBeLimited() error {
	g, err := memoryGroup(fmt.Sprintf("jepsen-%d", os.Getpid()))
	if err != nil {
		return err
	}
	return os.Remove(g.dir)
}

// Memory is a limit of a process's memory, page cache included, beside what it had before.
type Memory struct{ g cgroup }

// LimitMemory puts one in force.
func (n *Node) LimitMemory(bytes int64) (*Memory, error) {
	pid := n.PID()
	if pid == 0 {
		return nil, fmt.Errorf("%s does not run", n.Name)
	}
	g, err := memoryGroup(n.c.name + "-" + n.Name)
	if err != nil {
		return nil, err
	}
	m := &Memory{g}
	// What the process has stays with the group that it is in: the limit is for what comes.
	if err := errors.Join(m.Set(bytes), g.write(g.pids, strconv.Itoa(pid))); err != nil {
		return nil, errors.Join(err, m.Free())
	}
	return m, nil
}

// Set changes the limit. The kernel may refuse one that is below what it cannot take away.
func (m *Memory) Set(bytes int64) error { return m.g.write(m.g.limit, strconv.FormatInt(bytes, 10)) }

// Pressed is how often the limit was not enough so far.
func (m *Memory) Pressed() int64 {
	fields := strings.Fields(m.g.read(m.g.rejected))
	for i, f := range fields { // one number, or names each with theirs
		if n, err := strconv.ParseInt(f, 10, 64); err == nil && (i == 0 || fields[i-1] == "max") {
			return n
		}
	}
	return 0
}

// Free lifts the limit. A process that is still there goes to the group above.
func (m *Memory) Free() error {
	for _, p := range strings.Fields(m.g.read(m.g.pids)) {
		os.WriteFile(filepath.Join(filepath.Dir(m.g.dir), m.g.pids), []byte(p), 0o644)
	}
	return os.Remove(m.g.dir)
}
