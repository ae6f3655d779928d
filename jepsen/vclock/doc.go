// Package vclock gives a child process a wall clock that jumps and clocks that run at
// another rate, which the program itself sees: all of its time.Now, timers and
// deadlines. The program is not changed, and need not know.
//
// Programs read the clock through the vDSO, code that the kernel maps into each process.
// While the child is stopped before its first instruction, its copy of
// __vdso_clock_gettime is overwritten by a stub that asks the kernel by a system call and
// then computes
//
//	shown + (now - base) * rate
//
// with numbers of its own for the wall clock and for the monotonic one. The numbers stand
// behind the stub, several times: a change is written where none is read, and then one
// word tells which are read. Waits of the kernel keep their real length; Go looks at the clock
// after each and waits on.
//
// Linux on amd64 only; elsewhere Possible says so.
package vclock

import "time"

// Change is what becomes of a process's clocks.
type Change struct {
	Jump   time.Duration // of the wall clock, at once
	Wall   float64       // seconds of the wall clock a second from here on; 0: 1
	Timers float64       // seconds of the monotonic clock a second from here on; 0: 1
	Right  bool          // first the wall clock is right again
}
