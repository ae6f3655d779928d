package vclock

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stub is position independent. The data behind it: a word that is the offset of the
// numbers in force, then slots of twice base, shown, rate<<16, for the wall clock and for
// the monotonic one.
//
//	00  mov r9,[rip+0x69]              the word
//	07  mov eax,0xe4                   clock_gettime
//	0c  syscall
//	0e  test eax,eax
//	10  jne 3c
//	12  cmp r9,[rip+0x57]              it changed meanwhile: again
//	19  jne 0
//	1b  lea rcx,[rip+0x56]             the slots
//	22  add rcx,r9
//	25  test edi,edi                   CLOCK_REALTIME
//	27  je 3d
//	29  cmp edi,0x5                    CLOCK_REALTIME_COARSE
//	2c  je 3d
//	2e  add rcx,0x18
//	32  cmp edi,0x1                    CLOCK_MONOTONIC
//	35  je 3d
//	37  cmp edi,0x6                    CLOCK_MONOTONIC_COARSE
//	3a  je 3d
//	3c  ret
//	3d  imul rax,[rsi],1000000000      seconds
//	44  add rax,[rsi+0x8]              nanoseconds
//	48  sub rax,[rcx]                  base
//	4b  imul [rcx+0x10]                rate
//	4f  shrd rax,rdx,0x10
//	54  add rax,[rcx+0x8]              shown
//	58  xor edx,edx
//	5a  mov r8d,1000000000
//	60  div r8
//	63  mov [rsi],rax
//	66  mov [rsi+0x8],rdx
//	6a  xor eax,eax
//	6c  ret
//	6d  nop DWORD PTR [rax]
var stub = []byte{
	0x4c, 0x8b, 0x0d, 0x69, 0x00, 0x00, 0x00, 0xb8, 0xe4, 0x00, 0x00, 0x00, 0x0f, 0x05, 0x85, 0xc0,
	0x75, 0x2a, 0x4c, 0x3b, 0x0d, 0x57, 0x00, 0x00, 0x00, 0x75, 0xe5, 0x48, 0x8d, 0x0d, 0x56, 0x00,
	0x00, 0x00, 0x4c, 0x01, 0xc9, 0x85, 0xff, 0x74, 0x14, 0x83, 0xff, 0x05, 0x74, 0x0f, 0x48, 0x83,
	0xc1, 0x18, 0x83, 0xff, 0x01, 0x74, 0x06, 0x83, 0xff, 0x06, 0x74, 0x01, 0xc3, 0x48, 0x69, 0x06,
	0x00, 0xca, 0x9a, 0x3b, 0x48, 0x03, 0x46, 0x08, 0x48, 0x2b, 0x01, 0x48, 0xf7, 0x69, 0x10, 0x48,
	0x0f, 0xac, 0xd0, 0x10, 0x48, 0x03, 0x41, 0x08, 0x31, 0xd2, 0x41, 0xb8, 0x00, 0xca, 0x9a, 0x3b,
	0x49, 0xf7, 0xf0, 0x48, 0x89, 0x06, 0x48, 0x89, 0x56, 0x08, 0x31, 0xc0, 0xc3, 0x0f, 0x1f, 0x00,
}

const (
	wordAt    = 0x70
	slotsAt   = 0x78
	slotBytes = 48
	slots     = 8       // taken in turn: who was stopped while it read one must go on before it is written again
	one       = 1 << 16 // a rate of 1
	needed    = slotsAt + slots*slotBytes
)

// line is one clock: shown + (now-base)*rate/65536, in ns.
type line struct{ base, shown, rate int64 }

func (l line) at(now int64) int64 {
	return l.shown + int64(math.Round(float64(now-l.base)*float64(l.rate)/one))
}

// Clock is a process's.
type Clock struct {
	pid int
	mem string // file of its memory
	at  int64  // of the stub

	mu         sync.Mutex
	wall, mono line
	slot       int64
}

// Possible says why no process can have its own clock here; nil: it can.
func Possible() error {
	_, err := find("/proc/self")
	return err
}

// find is where a process has its __vdso_clock_gettime.
func find(proc string) (int64, error) {
	maps, err := os.ReadFile(proc + "/maps")
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(maps)) {
		if !strings.Contains(l, "[vdso]") {
			continue
		}
		var from, to int64
		if _, err := fmt.Sscanf(l, "%x-%x", &from, &to); err != nil {
			return 0, fmt.Errorf("vDSO %q: %w", l, err)
		}
		mem, err := os.Open(proc + "/mem")
		if err != nil {
			return 0, err
		}
		defer mem.Close()
		b := make([]byte, to-from)
		if _, err := mem.ReadAt(b, from); err != nil {
			return 0, fmt.Errorf("read the vDSO: %w", err)
		}
		f, err := elf.NewFile(bytes.NewReader(b))
		if err != nil {
			return 0, fmt.Errorf("the vDSO: %w", err)
		}
		symbols, err := f.DynamicSymbols()
		if err != nil {
			return 0, fmt.Errorf("the vDSO: %w", err)
		}
		for _, s := range symbols {
			if s.Name == "__vdso_clock_gettime" {
				if s.Size < needed {
					return 0, fmt.Errorf("the vDSO's clock_gettime has %d bytes, %d are needed", s.Size, needed)
				}
				return from + int64(s.Value), nil
			}
		}
		return 0, errors.New("the vDSO has no clock_gettime")
	}
	return 0, errors.New("there is no vDSO")
}

// Start starts cmd with clocks of its own: the wall clock is right at first, the monotonic one
// is ahead by up, as on a machine that was started so much earlier. The calling
// goroutine must be locked to its thread.
func Start(cmd *exec.Cmd, up time.Duration) (*Clock, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Ptrace = true
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c, err := seize(cmd.Process.Pid, up)
	if err != nil {
		cmd.Process.Kill()
		return nil, errors.Join(fmt.Errorf("clock of %s: %w", cmd.Path, err), cmd.Wait())
	}
	return c, nil
}

// seize patches a child that stops as it begins, and lets it go.
func seize(pid int, up time.Duration) (*Clock, error) {
	var ws unix.WaitStatus
	if _, err := unix.Wait4(pid, &ws, 0, nil); err != nil {
		return nil, err
	}
	if !ws.Stopped() {
		return nil, fmt.Errorf("it is not stopped: %#x", ws)
	}
	proc := fmt.Sprintf("/proc/%d", pid)
	c := &Clock{pid: pid, mem: proc + "/mem", wall: line{rate: one}, mono: line{shown: int64(up), rate: one}}
	at, err := find(proc)
	if err != nil {
		return nil, err
	}
	c.at = at
	if err := c.write(0, stub); err != nil {
		return nil, err
	}
	if err := c.put(); err != nil {
		return nil, err
	}
	return c, unix.PtraceDetach(pid)
}

// Up is by how much the monotonic clock is ahead, read from the process's memory.
func (c *Clock) Up() (time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, err := os.Open(c.mem)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b := make([]byte, 3*8)
	if _, err := f.ReadAt(b, c.at+slotsAt+c.slot+3*8); err != nil {
		return 0, err
	}
	word := func(i int) int64 { return int64(binary.LittleEndian.Uint64(b[8*i:])) }
	mono, err := now(unix.CLOCK_MONOTONIC)
	return time.Duration(line{word(0), word(1), word(2)}.at(mono) - mono), err
}

func (c *Clock) write(off int64, b []byte) error {
	f, err := os.OpenFile(c.mem, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, c.at+off)
	return errors.Join(err, f.Close())
}

// put writes the numbers where they are not read, and has them read.
func (c *Clock) put() error {
	c.slot = (c.slot + slotBytes) % (slots * slotBytes)
	var b []byte
	for _, l := range []line{c.wall, c.mono} {
		for _, v := range []int64{l.base, l.shown, l.rate} {
			b = binary.LittleEndian.AppendUint64(b, uint64(v))
		}
	}
	if err := c.write(slotsAt+c.slot, b); err != nil {
		return err
	}
	return c.write(wordAt, binary.LittleEndian.AppendUint64(nil, uint64(c.slot)))
}

func now(clock int32) (int64, error) {
	var ts unix.Timespec
	err := unix.ClockGettime(clock, &ts)
	return ts.Nano(), err
}

func rate(r float64) int64 {
	if r == 0 {
		r = 1
	}
	return max(1, int64(math.Round(r*one)))
}

// Do changes the clocks. The monotonic one never goes back; it is never right again
// either, only its rate is. For a change of that rate the process is stopped by SIGSTOP
// for a moment, unless it is stopped already; nobody else may stop it meanwhile.
func (c *Clock) Do(ch Change) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := rate(ch.Timers); r != c.mono.rate {
		goOn, err := c.stop()
		if err != nil {
			return err
		}
		defer goOn()
		mono, err := now(unix.CLOCK_MONOTONIC)
		if err != nil {
			return err
		}
		c.mono = line{mono, c.mono.at(mono), r}
	}
	wall, err := now(unix.CLOCK_REALTIME)
	if err != nil {
		return err
	}
	shown := c.wall.at(wall)
	if ch.Right {
		shown = wall
	}
	c.wall = line{wall, shown + int64(ch.Jump), rate(ch.Wall)}
	if ch.Right && ch.Jump == 0 && rate(ch.Wall) == one {
		c.wall = line{rate: one} // exactly
	}
	return c.put()
}

// stopsWithin is how long a stop may take.
const stopsWithin = 5 * time.Second

// stop returns when no thread of the process runs, and what lets it go on.
func (c *Clock) stop() (goOn func(), err error) {
	is, err := c.stopped()
	if err != nil || is {
		return func() {}, err
	}
	if err := unix.Kill(c.pid, unix.SIGSTOP); err != nil {
		return nil, err
	}
	goOn = func() { unix.Kill(c.pid, unix.SIGCONT) }
	for end := time.Now().Add(stopsWithin); ; time.Sleep(100 * time.Microsecond) { // nothing tells a stop
		switch is, err := c.stopped(); {
		case is:
			return goOn, nil
		case err != nil || time.Now().After(end):
			goOn()
			return nil, errors.Join(fmt.Errorf("process %d does not stop", c.pid), err)
		}
	}
}

// stopped reports whether all threads are stopped by a signal: state T in
// /proc/PID/task/TID/stat, proc(5).
func (c *Clock) stopped() (bool, error) {
	dir := fmt.Sprintf("/proc/%d/task", c.pid)
	threads, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, t := range threads {
		b, err := os.ReadFile(dir + "/" + t.Name() + "/stat")
		if errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return false, err
		}
		if i := bytes.LastIndexByte(b, ')'); i < 0 || i+2 >= len(b) || b[i+2] != 'T' {
			return false, nil
		}
	}
	return true, nil
}
