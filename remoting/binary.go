package remoting

import (
	"encoding/binary"
	"fmt"
	"math"
	"sort"
)

// sortedKeys appends m's keys to keys in order.
func sortedKeys(keys []string, m map[string]string) []string {
	for k := range m {
		keys = append(keys, k)
	}
	if len(keys) > 32 {
		sort.Strings(keys)
		return keys
	}
	for i := 1; i < len(keys); i++ {
		for j := i; j > 0 && keys[j] < keys[j-1]; j-- {
			keys[j], keys[j-1] = keys[j-1], keys[j]
		}
	}
	return keys
}

func appendBinary(b []byte, c *Command, opaque int32) ([]byte, error) {
	if c.Code < math.MinInt16 || c.Code > math.MaxInt16 {
		return nil, fmt.Errorf("%w: code %d in a binary header", ErrTooLarge, c.Code)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(c.Code))
	b = append(b, c.Language)
	b = binary.BigEndian.AppendUint16(b, uint16(c.Version))
	b = binary.BigEndian.AppendUint32(b, uint32(opaque))
	b = binary.BigEndian.AppendUint32(b, uint32(c.Flag))
	b = binary.BigEndian.AppendUint32(b, uint32(len(c.Remark)))
	b = append(b, c.Remark...)
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	var room [32]string
	for _, k := range sortedKeys(room[:0], c.Ext) {
		if len(k) > math.MaxInt16 {
			return nil, fmt.Errorf("%w: ext key of %d bytes", ErrTooLarge, len(k))
		}
		v := c.Ext[k]
		b = binary.BigEndian.AppendUint16(b, uint16(len(k)))
		b = append(b, k...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
		b = append(b, v...)
	}
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b, nil
}

// decodeBinary fills c; its strings are parts of s.
func decodeBinary(c *Command, s string) error {
	if len(s) < 21 {
		return fmt.Errorf("%w: binary header of %d bytes", ErrFrame, len(s))
	}
	c.Code = Code(int16(be16(s)))
	c.Language = s[2]
	c.Version = int32(int16(be16(s[3:])))
	c.Opaque = int32(be32(s[5:]))
	c.Flag = int32(be32(s[9:]))
	r := int64(be32(s[13:]))
	if r > int64(len(s)-21) {
		return fmt.Errorf("%w: remark of %d bytes in a header of %d", ErrFrame, r, len(s))
	}
	c.Remark = s[17 : 17+r]
	e := int64(be32(s[17+r:]))
	s = s[21+r:]
	if e != int64(len(s)) {
		return fmt.Errorf("%w: ext of %d bytes where %d are left", ErrFrame, e, len(s))
	}
	if len(s) == 0 {
		return nil
	}
	c.Ext = make(map[string]string, 8)
	for len(s) > 0 {
		if len(s) < 2 {
			return fmt.Errorf("%w: ext ends in a key length", ErrFrame)
		}
		n := int(int16(be16(s)))
		if n < 0 || len(s)-2 < n+4 {
			return fmt.Errorf("%w: ext key of %d bytes where %d are left", ErrFrame, n, len(s)-2)
		}
		if len(c.Ext) == maxExt {
			return fmt.Errorf("%w: more than %d ext fields", ErrFrame, maxExt)
		}
		k := s[2 : 2+n]
		s = s[2+n:]
		v := int64(be32(s))
		if v > int64(len(s)-4) {
			return fmt.Errorf("%w: ext value of %d bytes where %d are left", ErrFrame, v, len(s)-4)
		}
		c.Ext[k] = s[4 : 4+v]
		s = s[4+v:]
	}
	return nil
}

func be16(s string) uint16 { return uint16(s[0])<<8 | uint16(s[1]) }

func be32(s string) uint32 {
	return uint32(s[0])<<24 | uint32(s[1])<<16 | uint32(s[2])<<8 | uint32(s[3])
}
