// Package vfstest tries what others promise about the disk: it cuts the power
// under a workload at each of its operations and has the rest looked at.
package vfstest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"raftmq/internal/vfs"
)

// Run is one life of a workload, and what it was promised meanwhile.
type Run struct {
	// Work uses the disk until it is done, or until an operation fails as
	// the power is gone. It has ended all its goroutines when it returns. It
	// notes for Check what it was told is durable, after it was told.
	Work func(d *vfs.Mem) error

	// Check opens a disk that the power cut left and returns an error unless
	// all that was promised to Work holds. It is called for several such
	// disks, one after the other, and ends what it starts.
	Check func(d *vfs.Mem) error
}

// Options of CutPower; the zero value tries each operation.
type Options struct {
	// Seed decides what is kept and where the power is cut.
	Seed uint64

	// Cuts is the number of operations to cut at, chosen by Seed; 0: all.
	Cuts int

	// Images is the number of ways a cut is looked at; 0: 3. The first loses
	// all that is not durable, the second keeps all of it, as the end of a
	// process does, the others keep each thing by itself.
	Images int

	// Recover cuts the power again, at some operation of Check, and then has
	// what that left checked: recovery must not lose anything either. Check
	// is then also called on disks that fail under it, its verdict ignored.
	Recover bool
}

// CutPower fails the test unless Check is content after every cut.
func CutPower(t testing.TB, o Options, start func() Run) {
	t.Helper()
	if err := Try(o, start); err != nil {
		t.Fatal(err)
	}
}

// Try is CutPower that returns the first failure, with the seed, the operation
// and the image to find it by. start is called for each cut; what it returns
// shares nothing with other runs. The workload is first run to its end, which
// must succeed, to count its operations.
func Try(o Options, start func() Run) error {
	if o.Images == 0 {
		o.Images = 3
	}
	whole := start()
	d := vfs.NewMem(o.Seed)
	if err := whole.Work(d); err != nil {
		return fmt.Errorf("work without a power cut: %w", err)
	}
	total := d.Ops()
	if err := o.check(whole, d, total+1); err != nil {
		return err
	}
	if o.Cuts == 0 || uint64(o.Cuts) >= total {
		for n := uint64(1); n <= total; n++ {
			if err := o.cut(start(), n); err != nil {
				return err
			}
		}
		return nil
	}
	random := rand.New(rand.NewPCG(o.Seed, total))
	for range o.Cuts {
		if err := o.cut(start(), 1+random.Uint64N(total)); err != nil {
			return err
		}
	}
	return nil
}

// cut runs the workload until operation n.
func (o Options) cut(r Run, n uint64) error {
	d := vfs.NewMem(o.Seed)
	d.CutAt(n, o.images(n)...)
	err := r.Work(d)
	if left, _ := d.Left(); err != nil && left == nil {
		return fmt.Errorf("work without a power cut (seed %d): %w", o.Seed, err)
	}
	return o.check(r, d, n)
}

func (o Options) images(n uint64) []vfs.Cut {
	cuts := make([]vfs.Cut, o.Images)
	for i := range cuts {
		keep := 0.5
		if i < 2 {
			keep = float64(i)
		}
		cuts[i] = vfs.Cut{Seed: o.Seed ^ n<<20 ^ uint64(i)<<56, Keep: keep}
	}
	return cuts
}

// check looks at what the cut of d at operation n left. A workload with
// goroutines of its own may have ended before n: the power is cut then.
func (o Options) check(r Run, d *vfs.Mem, n uint64) error {
	left, op := d.Left()
	if left == nil {
		for _, c := range o.images(n) {
			left = append(left, d.CrashKeeping(c.Seed, c.Keep))
		}
	}
	for i, image := range left {
		at := fmt.Sprintf("power cut before operation %v (seed %d, image %d)", op, o.Seed, i)
		copied := image.CrashKeeping(0, 1)
		if err := r.Check(image); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		if !o.Recover || image.Ops() == 0 {
			continue
		}
		again := 1 + (n+uint64(i))*0x9e3779b97f4a7c15>>32%image.Ops()
		copied.CutAt(again, o.images(n ^ again<<32)[len(left)-1])
		r.Check(copied) // its power fails, so its verdict says nothing
		second, op := copied.Left()
		if second == nil {
			continue
		}
		if err := r.Check(second[0]); err != nil {
			return fmt.Errorf("%s, then before operation %v of the recovery: %w", at, op, err)
		}
	}
	return nil
}
