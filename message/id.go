package message

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"
)

// A physical offset names a record to clients that send it back alone:
// the slot-local number of its partition (20 bits) above the low 43 bits of its
// position. It is positive and the same on all replicas. A log that was appended to
// for long is longer than those bits count, and keeps less of it: see PositionBefore.
const (
	positionBits = 43
	// MaxPartitionNumber is the largest slot-local partition number.
	MaxPartitionNumber = 1<<20 - 1
	// MaxPosition is the largest position that a physical offset has whole, 8 TiB.
	MaxPosition = 1<<positionBits - 1
)

// PhysicalOffset joins a partition's number and a position in its log.
func PhysicalOffset(number uint32, position int64) int64 {
	return int64(number)<<positionBits | position&MaxPosition
}

// SplitPhysicalOffset is the inverse of PhysicalOffset, but for the high bits of a
// position.
func SplitPhysicalOffset(p int64) (number uint32, position int64) {
	return uint32(p>>positionBits) & MaxPartitionNumber, p & MaxPosition
}

// PositionBefore is the last position before the end of a log that has these low bits;
// the bits themselves if there is none. Of what a log has it is the right one as long as
// that is less than 8 TiB.
func PositionBefore(low, end int64) int64 {
	p := end&^MaxPosition | low
	if p >= end {
		p -= MaxPosition + 1
	}
	return max(p, low)
}

// OffsetID is the message id that a broker gives: host, port and physical offset
// as 32 upper-case hex digits.
func OffsetID(host netip.AddrPort, physical int64) string {
	b := appendHost(make([]byte, 0, 16), host)
	b = binary.BigEndian.AppendUint64(b, uint64(physical))
	return UpperHex(b)
}

// ParseOffsetID is the inverse of OffsetID.
func ParseOffsetID(id string) (netip.AddrPort, int64, error) {
	b, err := hex.DecodeString(id)
	if err != nil || len(b) != 16 {
		return netip.AddrPort{}, 0, fmt.Errorf("message: id %q is not 32 hex digits", id)
	}
	port := binary.BigEndian.Uint32(b[4:])
	if port > 65535 {
		return netip.AddrPort{}, 0, fmt.Errorf("message: id %q names port %d", id, port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), uint16(port)), int64(binary.BigEndian.Uint64(b[8:])), nil
}

// UniqueKeys makes the ids by which clients know a message (UNIQ_KEY): 32
// upper-case hex digits of address, process, salt, milliseconds and a counter.
// The salt is random, so that two processes alike do not collide as RocketMQ's
// own ids can.
type UniqueKeys struct {
	prefix [10]byte
	now    func() time.Time
	count  atomic.Uint32
}

// NewUniqueKeys returns a source of keys; now is the clock and salt a random
// number. Safe for concurrent use.
func NewUniqueKeys(ip netip.Addr, pid int, salt uint32, now func() time.Time) *UniqueKeys {
	u := &UniqueKeys{now: now}
	if v4 := ip.Unmap(); v4.Is4() {
		a := v4.As4()
		copy(u.prefix[:], a[:])
	}
	binary.BigEndian.PutUint16(u.prefix[4:], uint16(pid))
	binary.BigEndian.PutUint32(u.prefix[6:], salt)
	return u
}

// Next returns a key that this source has not returned within 65,536 calls of
// one millisecond.
func (u *UniqueKeys) Next() string {
	var b [16]byte
	copy(b[:], u.prefix[:])
	binary.BigEndian.PutUint32(b[10:], uint32(u.now().UnixMilli()))
	binary.BigEndian.PutUint16(b[14:], uint16(u.count.Add(1)))
	return UpperHex(b[:])
}

// UpperHex is b, of at most 32 bytes, as ids are written: two upper-case hex digits a byte.
func UpperHex(b []byte) string {
	var out [64]byte
	PutUpperHex(out[:], b)
	return string(out[:2*len(b)])
}

// PutUpperHex writes b in upper-case hex into dst, which has room for 2*len(b) digits.
func PutUpperHex(dst, b []byte) {
	const digits = "0123456789ABCDEF"
	for i, c := range b {
		dst[2*i], dst[2*i+1] = digits[c>>4], digits[c&15]
	}
}
