package remoting

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

func appendJSON(b []byte, c *Command, opaque int32) []byte {
	b = append(b, `{"code":`...)
	b = strconv.AppendInt(b, int64(c.Code), 10)
	b = append(b, `,"extFields":{`...)
	var room [32]string
	for i, k := range sortedKeys(room[:0], c.Ext) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, k), ':')
		b = appendString(b, c.Ext[k])
	}
	b = append(b, `},"flag":`...)
	b = strconv.AppendInt(b, int64(c.Flag), 10)
	b = append(b, `,"language":"`...)
	b = append(b, LanguageName(c.Language)...)
	b = append(b, `","opaque":`...)
	b = strconv.AppendInt(b, int64(opaque), 10)
	if c.Remark != "" {
		b = append(b, `,"remark":`...)
		b = appendString(b, c.Remark)
	}
	b = append(b, `,"serializeTypeCurrentRPC":"JSON","version":`...)
	b = strconv.AppendInt(b, int64(c.Version), 10)
	return append(b, '}')
}

const hexDigits = "0123456789abcdef"

// appendString appends s quoted. Bytes that are not UTF-8 become U+FFFD, as
// encoding/json has it.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		ch := s[i]
		if ch < utf8.RuneSelf {
			if ch >= ' ' && ch != '"' && ch != '\\' {
				i++
				continue
			}
			b = append(b, s[from:i]...)
			switch ch {
			case '"', '\\':
				b = append(b, '\\', ch)
			case '\n':
				b = append(b, '\\', 'n')
			case '\r':
				b = append(b, '\\', 'r')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = append(b, '\\', 'u', '0', '0', hexDigits[ch>>4], hexDigits[ch&15])
			}
			i++
			from = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			b = append(b, s[from:i]...)
			b = append(b, "\ufffd"...)
			from = i + 1
		}
		i += n
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

// jsonText reads JSON from a string, without reflection. Strings without
// escapes are parts of s.
type jsonText struct {
	s  string
	at int
}

// maxDepth bounds the nesting of values that are skipped.
const maxDepth = 64

// decodeJSON fills c. Members it does not know are skipped; an ext value that
// is a number or a boolean is taken as its text, null is left out.
func decodeJSON(c *Command, s string) error {
	t := jsonText{s: s}
	c.Language = Other
	if err := t.object(func(key string) error { return t.member(c, key) }); err != nil {
		return err
	}
	t.space()
	if t.at != len(t.s) {
		return t.fail("bytes after the object")
	}
	return nil
}

func (t *jsonText) member(c *Command, key string) (err error) {
	if strings.HasPrefix(t.s[t.at:], "null") {
		return t.skip(0)
	}
	switch key {
	case "code":
		var n int32
		n, err = t.int32()
		c.Code = Code(n)
	case "version":
		c.Version, err = t.int32()
	case "opaque":
		c.Opaque, err = t.int32()
	case "flag":
		c.Flag, err = t.int32()
	case "remark":
		c.Remark, err = t.string()
	case "language":
		if t.peek() != '"' { // an ordinal: some clients send it
			var n int32
			if n, err = t.int32(); err == nil && n >= 0 && int(n) < len(languages) {
				c.Language = byte(n)
			}
			return err
		}
		var name string
		name, err = t.string()
		c.Language = languageOf(name)
	case "extFields":
		c.Ext = make(map[string]string, min(16, 1+(len(t.s)-t.at)/16))
		return t.object(func(key string) error {
			if len(c.Ext) == maxExt {
				return t.fail("more than " + strconv.Itoa(maxExt) + " ext fields")
			}
			if t.peek() == '"' {
				v, err := t.string()
				c.Ext[key] = v
				return err
			}
			from := t.at
			if ch := t.peek(); ch == '{' || ch == '[' {
				return t.fail("ext field " + strconv.Quote(key) + " is not a string")
			}
			if err := t.skip(0); err != nil {
				return err
			}
			if v := t.s[from:t.at]; v != "null" {
				c.Ext[key] = v
			}
			return nil
		})
	default:
		return t.skip(0)
	}
	return err
}

func (t *jsonText) fail(what string) error {
	return fmt.Errorf("%w: JSON header, byte %d: %s", ErrFrame, t.at, what)
}

func (t *jsonText) space() {
	for t.at < len(t.s) {
		switch t.s[t.at] {
		case ' ', '\t', '\n', '\r':
			t.at++
		default:
			return
		}
	}
}

// peek is the next byte, 0 at the end.
func (t *jsonText) peek() byte {
	if t.at < len(t.s) {
		return t.s[t.at]
	}
	return 0
}

func (t *jsonText) take(ch byte) error {
	t.space()
	if t.peek() != ch {
		return t.fail("want " + strconv.QuoteRune(rune(ch)))
	}
	t.at++
	return nil
}

func (t *jsonText) object(value func(key string) error) error {
	if err := t.take('{'); err != nil {
		return err
	}
	t.space()
	if t.peek() == '}' {
		t.at++
		return nil
	}
	for {
		t.space()
		key, err := t.string()
		if err != nil {
			return err
		}
		if err := t.take(':'); err != nil {
			return err
		}
		t.space()
		if err := value(key); err != nil {
			return err
		}
		t.space()
		switch t.peek() {
		case ',':
			t.at++
		case '}':
			t.at++
			return nil
		default:
			return t.fail("want ',' or '}'")
		}
	}
}

func (t *jsonText) string() (string, error) {
	if t.peek() != '"' {
		return "", t.fail("want a string")
	}
	t.at++
	from := t.at
	for t.at < len(t.s) {
		switch ch := t.s[t.at]; {
		case ch == '"':
			v := t.s[from:t.at]
			t.at++
			return v, nil
		case ch == '\\' || ch >= utf8.RuneSelf:
			return t.unquote(from)
		case ch < ' ':
			return "", t.fail("control character in a string")
		}
		t.at++
	}
	return "", t.fail("string does not end")
}

// unquote reads the rest of a string that has escapes or bytes above ASCII.
func (t *jsonText) unquote(from int) (string, error) {
	b := make([]byte, 0, 2*(t.at-from)+64)
	b = append(b, t.s[from:t.at]...)
	for t.at < len(t.s) {
		ch := t.s[t.at]
		switch {
		case ch == '"':
			t.at++
			return string(b), nil
		case ch < ' ':
			return "", t.fail("control character in a string")
		case ch >= utf8.RuneSelf:
			r, n := utf8.DecodeRuneInString(t.s[t.at:])
			b = utf8.AppendRune(b, r)
			t.at += n
		case ch != '\\':
			b = append(b, ch)
			t.at++
		default:
			if t.at+1 >= len(t.s) {
				return "", t.fail("string does not end")
			}
			t.at += 2
			switch e := t.s[t.at-1]; e {
			case '"', '\\', '/':
				b = append(b, e)
			case 'b':
				b = append(b, '\b')
			case 'f':
				b = append(b, '\f')
			case 'n':
				b = append(b, '\n')
			case 'r':
				b = append(b, '\r')
			case 't':
				b = append(b, '\t')
			case 'u':
				r, ok := t.hex4()
				if !ok {
					return "", t.fail("bad \\u escape")
				}
				if utf16.IsSurrogate(r) {
					at := t.at
					low := rune(-1)
					if strings.HasPrefix(t.s[t.at:], `\u`) {
						t.at += 2
						if low, ok = t.hex4(); !ok {
							return "", t.fail("bad \\u escape")
						}
					}
					if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
						t.at = at
					}
				}
				b = utf8.AppendRune(b, r)
			default:
				return "", t.fail("bad escape")
			}
		}
	}
	return "", t.fail("string does not end")
}

func (t *jsonText) hex4() (r rune, ok bool) {
	if len(t.s)-t.at < 4 {
		return 0, false
	}
	for range 4 {
		ch := t.s[t.at]
		switch {
		case ch >= '0' && ch <= '9':
			ch -= '0'
		case ch >= 'a' && ch <= 'f':
			ch -= 'a' - 10
		case ch >= 'A' && ch <= 'F':
			ch -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(ch)
		t.at++
	}
	return r, true
}

func (t *jsonText) int32() (int32, error) {
	from, n, neg := t.at, int64(0), false
	if t.peek() == '-' {
		neg = true
		t.at++
	}
	first := t.at
	for ; t.at < len(t.s) && t.s[t.at] >= '0' && t.s[t.at] <= '9'; t.at++ {
		if n = n*10 + int64(t.s[t.at]-'0'); n > math.MaxInt32+1 {
			return 0, t.fail("number out of range")
		}
	}
	if neg {
		n = -n
	}
	if t.at == first || t.at-first > 1 && t.s[first] == '0' || n > math.MaxInt32 {
		return 0, t.fail("not a 32-bit number: " + strconv.Quote(t.s[from:t.at]))
	}
	return int32(n), nil
}

// skip passes over any value.
func (t *jsonText) skip(depth int) error {
	if depth > maxDepth {
		return t.fail("nested too deep")
	}
	t.space()
	switch t.peek() {
	case '"':
		_, err := t.string()
		return err
	case '{':
		return t.object(func(string) error { return t.skip(depth + 1) })
	case '[':
		t.at++
		t.space()
		if t.peek() == ']' {
			t.at++
			return nil
		}
		for {
			if err := t.skip(depth + 1); err != nil {
				return err
			}
			t.space()
			switch t.peek() {
			case ',':
				t.at++
			case ']':
				t.at++
				return nil
			default:
				return t.fail("want ',' or ']'")
			}
		}
	}
	from := t.at
	for t.at < len(t.s) && !strings.ContainsRune(" \t\r\n,]}", rune(t.s[t.at])) {
		t.at++
	}
	if !json.Valid([]byte(t.s[from:t.at])) {
		return t.fail("not a value: " + strconv.Quote(t.s[from:t.at]))
	}
	return nil
}
