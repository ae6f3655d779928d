package run

import (
	"bytes"
	"fmt"
	"hash/crc32"
)

// A body is the value, a blank, the CRC-32C of the rest, a blank and padding: what
// is read says which send it is of, and whether a byte of it was changed. The
// padding's first byte says whether tag, key and property must say it too (dress.go).

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// minBody is the length of a body beside its value.
const minBody = 10

const (
	plain = '.'
	worn  = ':' // the message is dressed
)

// encode returns the body of a value, of at least size bytes.
func encode(value string, size int) []byte {
	return encodeWith(value, bytes.Repeat([]byte{plain}, max(0, size-len(value)-minBody)))
}

func encodeWith(value string, pad []byte) []byte {
	return fmt.Appendf(nil, "%s %08x %s", value, checksum(value, pad), pad)
}

func checksum(value string, pad []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte(value), castagnoli), castagnoli, pad)
}

// decode returns the value of a body; "!" and what is wrong if it is none.
func decode(body []byte) string {
	value, _ := undo(body)
	return value
}

// undo is decode, and whether the message is dressed.
func undo(body []byte) (string, bool) {
	value, rest, ok := bytes.Cut(body, []byte(" "))
	sum, pad, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok || !ok2 || string(sum) != fmt.Sprintf("%08x", checksum(string(value), pad)) {
		return fmt.Sprintf("!%d bytes, first %x", len(body), body[:min(16, len(body))]), false
	}
	return string(value), len(pad) > 0 && pad[0] == worn
}
