package filter

import (
	"bytes"
	"cmp"
	"errors"
	"math"
	"strconv"
)

// kind is what a value is. RocketMQ's rules tell 32 from 64 bits.
type kind uint8

const (
	null kind = iota
	boolean
	integer // 32 bits
	long    // 64 bits
	double
	text
	failed // a value could not be read as what it was compared with
)

// value is an operand. The zero value is NULL.
type value struct {
	kind kind
	n    int64 // boolean: 0 or 1; integer, long
	f    float64
	s    []byte
}

var fail = value{kind: failed}

func truth(b bool) value {
	if b {
		return value{kind: boolean, n: 1}
	}
	return value{kind: boolean}
}

// negate is -v; NULL of what is no number.
func (v value) negate() value {
	switch v.kind {
	case integer:
		return value{kind: integer, n: int64(-int32(v.n))}
	case long:
		return value{kind: long, n: -v.n}
	case double:
		return value{kind: double, f: -v.f}
	case failed:
		return v
	}
	return value{}
}

// compare orders two values that are not NULL: the right is read as what the left is, or
// the other way round. What cannot be equal, such as a number and a boolean, is -1. Not
// ok: one could not be read.
func compare(l, r value) (order int, ok bool) {
	if l.kind != r.kind {
		switch {
		case l.kind == text:
			l, ok = read(l.s, r.kind)
		case r.kind == text && l.kind != boolean:
			r, ok = read(r.s, l.kind)
		case r.kind == text: // RocketMQ fails on that, too
			return 0, false
		case l.kind == boolean || r.kind == boolean:
			return -1, true
		case l.kind == double:
			r, ok = value{kind: double, f: float64(r.n)}, true
		case r.kind == double:
			l, ok = value{kind: double, f: float64(l.n)}, true
		default:
			ok = true // two sizes of integers
		}
		if !ok {
			return 0, false
		}
	}
	switch l.kind {
	case text:
		return bytes.Compare(l.s, r.s), true
	case double:
		return compareDoubles(l.f, r.f), true
	}
	return cmp.Compare(l.n, r.n), true
}

// compareDoubles orders as Java does: -0 below 0, NaN above all and equal to itself.
func compareDoubles(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	if math.IsNaN(a) || math.IsNaN(b) {
		return -cmp.Compare(a, b) // cmp has NaN below all
	}
	return cmp.Compare(rank(a), rank(b))
}

// rank tells the two zeroes apart.
func rank(f float64) int {
	if math.Signbit(f) {
		return -1
	}
	return 0
}

// read takes a string for a value of a kind.
func read(s []byte, k kind) (value, bool) {
	switch k {
	case boolean:
		return truth(bytes.EqualFold(s, []byte("true"))), true
	case integer:
		n, ok := readInteger(s, math.MinInt32, math.MaxInt32)
		return value{kind: integer, n: n}, ok
	case long:
		n, ok := readInteger(s, math.MinInt64, math.MaxInt64)
		return value{kind: long, n: n}, ok
	case double:
		f, ok := readDouble(s)
		return value{kind: double, f: f}, ok
	}
	return value{}, false
}

// readInteger reads an optional sign and digits.
func readInteger(s []byte, lowest, highest int64) (int64, bool) {
	negative := false
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		negative = s[0] == '-'
		s = s[1:]
	}
	if len(s) == 0 {
		return 0, false
	}
	n := int64(0) // at most 0: the lowest has no counterpart
	for _, c := range s {
		d := int64(c) - '0'
		if d < 0 || d > 9 || n < (lowest+d)/10 {
			return 0, false
		}
		n = 10*n - d
	}
	if negative {
		return n, true
	}
	return -n, n >= -highest
}

// readDouble reads what Java's Double.valueOf does: blanks around, NaN, Infinity,
// decimals and hexadecimals with an exponent, and a letter f or d behind. Too large is
// infinite, too small 0.
func readDouble(s []byte) (float64, bool) {
	for len(s) > 0 && s[0] <= ' ' {
		s = s[1:]
	}
	for len(s) > 0 && s[len(s)-1] <= ' ' {
		s = s[:len(s)-1]
	}
	rest := s
	if len(rest) > 0 && (rest[0] == '-' || rest[0] == '+') {
		rest = rest[1:]
	}
	switch string(rest) {
	case "NaN":
		return math.NaN(), true
	case "Infinity":
		if s[0] == '-' {
			return math.Inf(-1), true
		}
		return math.Inf(1), true
	}
	if n := len(rest); n > 1 && isSuffix(rest[n-1]) && (!isHex(rest) || bytes.ContainsAny(rest, "pP")) {
		rest, s = rest[:n-1], s[:len(s)-1]
	}
	if !isNumber(rest) {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(s), 64)
	return f, err == nil || errors.Is(err, strconv.ErrRange)
}

func isSuffix(c byte) bool { return c == 'f' || c == 'F' || c == 'd' || c == 'D' }

func isHex(s []byte) bool { return len(s) > 1 && s[0] == '0' && s[1]|' ' == 'x' }

// isNumber leaves out what only Go takes for a number: words, and underscores.
func isNumber(s []byte) bool {
	hex := isHex(s)
	if hex {
		s = s[2:]
	}
	digits, point, i := 0, false, 0
	for ; i < len(s); i++ {
		c := s[i]
		if isDigit(c) || hex && c|' ' >= 'a' && c|' ' <= 'f' {
			digits++
			continue
		}
		if c != '.' || point {
			break
		}
		point = true
	}
	if digits == 0 {
		return false
	}
	if i == len(s) {
		return !hex
	}
	if c := s[i] | ' '; hex && c != 'p' || !hex && c != 'e' {
		return false
	}
	if i++; i < len(s) && (s[i] == '-' || s[i] == '+') {
		i++
	}
	if i == len(s) {
		return false
	}
	for ; i < len(s); i++ {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
