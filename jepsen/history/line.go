package history

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A history has a line per op, and a run of seconds has thousands. Those that are of requests are written and read
// here, since encoding/json takes several times as long; what is rare, or unlike what is written here, is left to that.

// appendLine appends op as a line.
func appendLine(b []byte, op *Op) ([]byte, error) {
	b = append(b, `{"i":`...)
	b = strconv.AppendInt(b, op.Index, 10)
	b = append(b, `,"t":`...)
	b = strconv.AppendInt(b, op.Time, 10)
	b = appendText(append(b, `,"p":`...), op.Process)
	b = appendText(append(b, `,"type":`...), string(op.Type))
	b = appendText(append(b, `,"f":`...), op.F)
	if len(op.Values) > 0 {
		b = append(b, `,"v":[`...)
		for i, v := range op.Values {
			b = appendText(comma(b, i), v)
		}
		b = append(b, ']')
	}
	if len(op.Places) > 0 {
		b = append(b, `,"at":[`...)
		for i, p := range op.Places {
			b = appendText(append(comma(b, i), `{"k":`...), p.Queue)
			b = appendNumber(b, `,"o":`, p.Offset)
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	b = someText(b, `,"group":`, op.Group)
	b = someText(b, `,"topic":`, op.Topic)
	b = someNumber(b, `,"count":`, int64(op.Count))
	b = someText(b, `,"fate":`, op.Fate)
	b = someNumber(b, `,"wait":`, op.Wait)
	if op.Loose {
		b = append(b, `,"loose":true`...)
	}
	b = someText(b, `,"node":`, op.Node)
	b = someText(b, `,"k":`, op.Queue)
	if len(op.Messages) > 0 {
		b = append(b, `,"msgs":[`...)
		for i, m := range op.Messages {
			b = appendText(append(comma(b, i), `{"k":`...), m.Queue)
			b = appendNumber(b, `,"o":`, m.Offset)
			b = someText(b, `,"v":`, m.Value)
			b = someNumber(b, `,"n":`, int64(m.Times))
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	if op.Range != nil {
		b = appendNumber(b, `,"range":{"min":`, op.Range.Min)
		b = appendNumber(b, `,"end":`, op.Range.End)
		b = append(b, '}')
	}
	var err error
	if op.Fault != nil {
		b, err = appendRare(b, `,"fault":`, op.Fault, err)
	}
	if op.Replica != nil {
		b, err = appendRare(b, `,"replica":`, op.Replica, err)
	}
	if op.Event != nil {
		b, err = appendRare(b, `,"event":`, op.Event, err)
	}
	if op.Run != nil {
		b, err = appendRare(b, `,"run":`, op.Run, err)
	}
	b = someText(b, `,"err":`, op.Error)
	return append(b, '}', '\n'), err
}

func comma(b []byte, i int) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	return b
}

func appendNumber(b []byte, key string, n int64) []byte {
	return strconv.AppendInt(append(b, key...), n, 10)
}

func someNumber(b []byte, key string, n int64) []byte {
	if n == 0 {
		return b
	}
	return appendNumber(b, key, n)
}

func someText(b []byte, key, s string) []byte {
	if s == "" {
		return b
	}
	return appendText(append(b, key...), s)
}

func appendText(b []byte, s string) []byte {
	if strings.IndexFunc(s, escaped) >= 0 {
		quoted, _ := json.Marshal(s) // a string always can
		return append(b, quoted...)
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// escaped reports whether a character is not written as it is, or may not be one.
func escaped(r rune) bool { return r < ' ' || r == '"' || r == '\\' || r >= utf8.RuneSelf }

func appendRare(b []byte, key string, v any, before error) ([]byte, error) {
	j, err := json.Marshal(v)
	if before != nil {
		err = before
	}
	return append(append(b, key...), j...), err
}

// plainLine reads a line as appendLine writes it; false: it is not, or has something rare, which says nothing of whether it
// is one of a history.
func plainLine(s string, op *Op) bool {
	p := plain{s: s}
	if !p.is("{") {
		return false
	}
	for first := true; !p.is("}"); first = false {
		if !first && !p.is(",") {
			return false
		}
		if !p.member(op) {
			return false
		}
	}
	return p.s == "\n"
}

// plain is what is left of a line.
type plain struct {
	s    string
	seen uint32 // members, each of which comes once
}

func (p *plain) is(prefix string) (ok bool) {
	p.s, ok = strings.CutPrefix(p.s, prefix)
	return ok
}

func (p *plain) once(member uint) bool {
	before := p.seen
	p.seen |= 1 << member
	return before != p.seen
}

func (p *plain) member(op *Op) bool {
	key, ok := p.text()
	if !ok || !p.is(":") {
		return false
	}
	switch key {
	case "i":
		return p.once(0) && p.number(&op.Index)
	case "t":
		return p.once(1) && p.number(&op.Time)
	case "p":
		return p.once(2) && p.set(&op.Process)
	case "type":
		return p.once(3) && p.set((*string)(&op.Type))
	case "f":
		return p.once(4) && p.set(&op.F)
	case "v":
		return p.once(5) && p.list(func() bool {
			v, ok := p.text()
			op.Values = append(op.Values, v)
			return ok
		})
	case "at":
		return p.once(6) && p.list(func() bool {
			var x Place
			ok := p.is(`{"k":`) && p.set(&x.Queue) && p.is(`,"o":`) && p.number(&x.Offset) && p.is("}")
			op.Places = append(op.Places, x)
			return ok
		})
	case "group":
		return p.once(7) && p.set(&op.Group)
	case "topic":
		return p.once(8) && p.set(&op.Topic)
	case "count":
		return p.once(9) && p.count(&op.Count)
	case "fate":
		return p.once(10) && p.set(&op.Fate)
	case "wait":
		return p.once(11) && p.number(&op.Wait)
	case "loose":
		op.Loose = true
		return p.once(12) && p.is("true")
	case "node":
		return p.once(13) && p.set(&op.Node)
	case "k":
		return p.once(14) && p.set(&op.Queue)
	case "msgs":
		return p.once(15) && p.list(func() bool {
			var m Message
			ok := p.is(`{"k":`) && p.set(&m.Queue) && p.is(`,"o":`) && p.number(&m.Offset)
			if ok && p.is(`,"v":`) {
				ok = p.set(&m.Value)
			}
			if ok && p.is(`,"n":`) {
				ok = p.count(&m.Times)
			}
			op.Messages = append(op.Messages, m)
			return ok && p.is("}")
		})
	case "range":
		op.Range = &Range{}
		return p.once(16) && p.is(`{"min":`) && p.number(&op.Range.Min) && p.is(`,"end":`) && p.number(&op.Range.End) && p.is("}")
	case "err":
		return p.once(17) && p.set(&op.Error)
	}
	return false
}

// list reads elements, of which there is one at least.
func (p *plain) list(element func() bool) bool {
	if !p.is("[") || !element() {
		return false
	}
	for !p.is("]") {
		if !p.is(",") || !element() {
			return false
		}
	}
	return true
}

func (p *plain) set(to *string) (ok bool) {
	*to, ok = p.text()
	return ok
}

// text reads a string without escapes.
func (p *plain) text() (string, bool) {
	if !p.is(`"`) {
		return "", false
	}
	for i := range len(p.s) {
		switch c := p.s[i]; {
		case c == '"':
			s := p.s[:i]
			p.s = p.s[i+1:]
			return s, true
		case escaped(rune(c)):
			return "", false
		}
	}
	return "", false
}

func (p *plain) count(to *int) bool {
	var n int64
	ok := p.number(&n)
	*to = int(n)
	return ok && int64(*to) == n
}

// number reads a whole one, of at most 18 digits.
func (p *plain) number(to *int64) bool {
	negative := p.is("-")
	n, i := int64(0), 0
	for ; i < len(p.s) && i <= 18 && p.s[i] >= '0' && p.s[i] <= '9'; i++ {
		n = 10*n + int64(p.s[i]-'0')
	}
	if i == 0 || i > 18 || i > 1 && p.s[0] == '0' {
		return false
	}
	p.s = p.s[i:]
	if negative {
		n = -n
	}
	*to = n
	return true
}
