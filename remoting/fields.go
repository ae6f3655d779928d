package remoting

import (
	"errors"
	"fmt"
	"math"
	"strconv"
)

// ErrHeader is wrapped by every refusal of a header or body: a required field
// is missing, or a value has the wrong form. The text names field and value
// and may be sent as a remark.
var ErrHeader = errors.New("remoting: bad request")

// fields reads typed values out of ext fields and keeps the first error.
type fields struct {
	ext map[string]string
	err error
}

func (f *fields) fail(key, what string) {
	if f.err == nil {
		f.err = fmt.Errorf("%w: field %s %s", ErrHeader, key, what)
	}
}

func (f *fields) failValue(key, what string) {
	v := f.ext[key]
	if len(v) > 64 {
		v = v[:64] + "..."
	}
	f.fail(key, fmt.Sprintf("%s: %q", what, v))
}

// must is a required text, not empty.
func (f *fields) must(key string) string {
	v, ok := f.ext[key]
	if !ok {
		f.fail(key, "is missing")
	} else if v == "" {
		f.fail(key, "is empty")
	}
	return v
}

// text is an optional text.
func (f *fields) text(key string) string { return f.ext[key] }

func (f *fields) int(key string, required bool, absent, low, high int64) int64 {
	v, ok := f.ext[key]
	if !ok || v == "" && !required {
		if required {
			f.fail(key, "is missing")
		}
		return absent
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		f.failValue(key, "is not a whole number")
		return absent
	}
	if n < low || n > high {
		f.failValue(key, fmt.Sprintf("is not between %d and %d", low, high))
		return absent
	}
	return n
}

func (f *fields) mustInt32(key string) int32 {
	return int32(f.int(key, true, 0, math.MinInt32, math.MaxInt32))
}

func (f *fields) int32(key string, absent int32) int32 {
	return int32(f.int(key, false, int64(absent), math.MinInt32, math.MaxInt32))
}

func (f *fields) mustInt64(key string) int64 {
	return f.int(key, true, 0, math.MinInt64, math.MaxInt64)
}

func (f *fields) int64(key string, absent int64) int64 {
	return f.int(key, false, absent, math.MinInt64, math.MaxInt64)
}

// queue is a required queue id, which may not be negative.
func (f *fields) queue(key string) int32 {
	return int32(f.int(key, true, 0, 0, math.MaxInt32))
}

// bool reads as Java does: true in any case is true, anything else false.
func (f *fields) bool(key string, absent bool) bool {
	v, ok := f.ext[key]
	if !ok || v == "" {
		return absent
	}
	return len(v) == 4 && v[0]|32 == 't' && v[1]|32 == 'r' && v[2]|32 == 'u' && v[3]|32 == 'e'
}

// bounded refuses ints outside [low, high] of a required field.
func (f *fields) bounded(key string, low, high int64) int64 { return f.int(key, true, 0, low, high) }

func i32(n int32) string { return strconv.FormatInt(int64(n), 10) }
func i64(n int64) string { return strconv.FormatInt(n, 10) }

func tf(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

// epoch is that of a lock, 0 if none is named.
func (f *fields) epoch() uint64 { return uint64(f.int("epoch", false, 0, 0, math.MaxInt64)) }

// part is the number, in its slot, of the partition that a place is in, as physical offsets have it; 0 if it is not said.
func (f *fields) part() uint32 { return uint32(f.int("part", false, 0, 0, math.MaxInt32)) }

func inPart(m map[string]string, part uint32) {
	if part != 0 {
		m["part"] = strconv.FormatUint(uint64(part), 10)
	}
}

// holder names a lock's holder, if there is one.
func holder(m map[string]string, owner string, epoch uint64) {
	if epoch != 0 {
		m["owner"], m["epoch"] = owner, strconv.FormatUint(epoch, 10)
	}
}

// optional sets key unless v is empty.
func optional(m map[string]string, key, v string) {
	if v != "" {
		m[key] = v
	}
}
