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
// numbers in force (0 or slotBytes), then two slots of twice base, shown, rate<<16, for
// the wall clock and for the monotonic one.
//
//	00  mov  eax, 228                clock_gettime
//	05  syscall
//	07  test eax, eax
//	09  jne  33
//	0b  mov  rdx, [rip+0x56]         the word
//	12  lea  rcx, [rip+0x57]         the slots
//	19  add  rcx, rdx
//	1c  test edi, edi                CLOCK_REALTIME
//	1e  je   34
//	20  cmp  edi, 5                  CLOCK_REALTIME_COARSE
//	23  je   34
//	25  add  rcx, 24
//	29  cmp  edi, 1                  CLOCK_MONOTONIC
//	2c  je   34
//	2e  cmp  edi, 6                  CLOCK_MONOTONIC_COARSE
//	31  je   34
//	33  ret
//	34  imul rax, [rsi], 1000000000  seconds
//	3b  add  rax, [rsi+8]            nanoseconds
//	3f  sub  rax, [rcx]              base
//	42  imul qword [rcx+16]          rate
//	46  shrd rax, rdx, 16
//	4b  add  rax, [rcx+8]            shown
//	4f  xor  edx, edx
//	51  mov  r8d, 1000000000
//	57  div  r8
//	5a  mov  [rsi], rax
//	5d  mov  [rsi+8], rdx
//	61  xor  eax, eax
//	63  ret
//	64  nop
var stub = []byte{
	0xb8, 0xe4, 0x00, 0x00, 0x00, 0x0f, 0x05, 0x85, 0xc0, 0x75, 0x28, 0x48, 0x8b, 0x15, 0x56, 0x00,
	0x00, 0x00, 0x48, 0x8d, 0x0d, 0x57, 0x00, 0x00, 0x00, 0x48, 0x01, 0xd1, 0x85, 0xff, 0x74, 0x14,
	0x83, 0xff, 0x05, 0x74, 0x0f, 0x48, 0x83, 0xc1, 0x18, 0x83, 0xff, 0x01, 0x74, 0x06, 0x83, 0xff,
	0x06, 0x74, 0x01, 0xc3, 0x48, 0x69, 0x06, 0x00, 0xca, 0x9a, 0x3b, 0x48, 0x03, 0x46, 0x08, 0x48,
	0x2b, 0x01, 0x48, 0xf7, 0x69, 0x10, 0x48, 0x0f, 0xac, 0xd0, 0x10, 0x48, 0x03, 0x41, 0x08, 0x31,
	0xd2, 0x41, 0xb8, 0x00, 0xca, 0x9a, 0x3b, 0x49, 0xf7, 0xf0, 0x48, 0x89, 0x06, 0x48, 0x89, 0x56,
	0x08, 0x31, 0xc0, 0xc3, 0x0f, 0x1f, 0x40, 0x00,
}

const (
	wordAt    = 0x68
	slotsAt   = 0x70
	slotBytes = 48
	one       = 1 << 16 // a rate of 1
	needed    = slotsAt + 2*slotBytes
)

// slack is what a monotonic clock is set ahead when its rate changes, so that the time
// that the change takes never turns it back.
const slack = 2 * time.Millisecond

// line is one clock: shown + (now-base)*rate/65536, in ns.
type line struct{ base, shown, rate int64 }

func (l line) at(now int64) int64 {
	return l.shown + int64(math.Round(float64(now-l.base)*float64(l.rate)/one))
}

// Clock is a process's.
type Clock struct {
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

// Start starts cmd with clocks of its own, which are right at first. The calling
// goroutine must be locked to its thread.
func Start(cmd *exec.Cmd) (*Clock, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Ptrace = true
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c, err := seize(cmd.Process.Pid)
	if err != nil {
		cmd.Process.Kill()
		return nil, errors.Join(fmt.Errorf("clock of %s: %w", cmd.Path, err), cmd.Wait())
	}
	return c, nil
}

// seize patches a child that stops as it begins, and lets it go.
func seize(pid int) (*Clock, error) {
	var ws unix.WaitStatus
	if _, err := unix.Wait4(pid, &ws, 0, nil); err != nil {
		return nil, err
	}
	if !ws.Stopped() {
		return nil, fmt.Errorf("it is not stopped: %#x", ws)
	}
	proc := fmt.Sprintf("/proc/%d", pid)
	c := &Clock{mem: proc + "/mem", wall: line{rate: one}, mono: line{rate: one}}
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
	c.slot = slotBytes - c.slot
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
// either, only its rate is.
func (c *Clock) Do(ch Change) error {
	c.mu.Lock()
	defer c.mu.Unlock()
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
	if r := rate(ch.Timers); r != c.mono.rate {
		mono, err := now(unix.CLOCK_MONOTONIC)
		if err != nil {
			return err
		}
		c.mono = line{mono, c.mono.at(mono) + int64(slack)*max(one, c.mono.rate)/one, r}
	}
	return c.put()
}
