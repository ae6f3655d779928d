package filter

import "bytes"

type operation uint8

const (
	opConstant operation = iota
	opProperty
	opAnd
	opOr
	opNot
	opCast // a property where a condition is wanted
	opNegate
	opEqual
	opLess
	opLessEqual
	opGreater
	opGreaterEqual
	opContains
	opStartsWith
	opEndsWith
	opIn
)

// node is an operation on its operands.
type node struct {
	op          operation
	at          int // in the text, in bytes
	left, right *node
	terms       []*node             // of AND and OR, at least two
	not         bool                // of IN, CONTAINS, STARTSWITH and ENDSWITH
	value       value               // a constant, or what is looked for
	slot        int                 // of a property
	list        [][]byte            // of IN, if it is short
	set         map[string]struct{} // else
}

// isCondition reports whether the node gives true, false or unknown.
func (n *node) isCondition() bool {
	switch n.op {
	case opProperty, opNegate:
		return false
	case opConstant:
		return n.value.kind == boolean || n.value.kind == null
	}
	return true
}

// eval is the node's value, given those of the properties: empty is missing.
func (n *node) eval(found [][]byte) value {
	switch n.op {
	case opConstant:
		return n.value
	case opProperty:
		if s := found[n.slot]; len(s) > 0 {
			return value{kind: text, s: s}
		}
		return value{}
	case opAnd:
		return n.all(found, 0)
	case opOr:
		return n.all(found, 1)
	case opNot:
		v := n.left.eval(found)
		if v.kind == boolean {
			v.n = 1 - v.n
		}
		return v
	case opCast:
		v := n.left.eval(found)
		if v.kind == text {
			return truth(false)
		}
		return v
	case opNegate:
		return n.left.eval(found).negate()
	case opEqual:
		return n.equal(found)
	case opLess, opLessEqual, opGreater, opGreaterEqual:
		return n.order(found)
	case opContains, opStartsWith, opEndsWith:
		return n.search(found)
	}
	return n.in(found)
}

// all goes through the terms of an AND, which a false one (0) decides, or of an OR,
// which a true one (1) does.
func (n *node) all(found [][]byte, decides int64) value {
	unknown := false
	for _, t := range n.terms {
		v := t.eval(found)
		switch {
		case v.kind == failed, v.kind == boolean && v.n == decides:
			return v
		case v.kind == null:
			unknown = true
		}
	}
	if unknown {
		return value{}
	}
	return value{kind: boolean, n: 1 - decides}
}

func (n *node) equal(found [][]byte) value {
	l := n.left.eval(found)
	if l.kind == failed {
		return fail
	}
	r := n.right.eval(found)
	switch {
	case r.kind == failed:
		return fail
	case l.kind == null && r.kind == null:
		return truth(true)
	case l.kind == null:
		return value{}
	case r.kind == null:
		return truth(false)
	}
	c, ok := compare(l, r)
	if !ok {
		return fail
	}
	return truth(c == 0)
}

func (n *node) order(found [][]byte) value {
	l := n.left.eval(found)
	if l.kind == null || l.kind == failed {
		return l
	}
	r := n.right.eval(found)
	if r.kind == null || r.kind == failed {
		return r
	}
	if l.kind == text && r.kind == text {
		x, ok := readDouble(l.s)
		y, ok2 := readDouble(r.s)
		if !ok || !ok2 {
			return fail
		}
		l, r = value{kind: double, f: x}, value{kind: double, f: y}
	}
	c, ok := compare(l, r)
	if !ok {
		return fail
	}
	switch n.op {
	case opLess:
		return truth(c < 0)
	case opLessEqual:
		return truth(c <= 0)
	case opGreater:
		return truth(c > 0)
	}
	return truth(c >= 0)
}

func (n *node) search(found [][]byte) value {
	if len(n.value.s) == 0 {
		return truth(false)
	}
	v := n.left.eval(found)
	switch {
	case v.kind == failed:
		return fail
	case v.kind != text:
		return truth(false)
	}
	var is bool
	switch n.op {
	case opContains:
		is = bytes.Contains(v.s, n.value.s)
	case opStartsWith:
		is = bytes.HasPrefix(v.s, n.value.s)
	default:
		is = bytes.HasSuffix(v.s, n.value.s)
	}
	return truth(is != n.not)
}

func (n *node) in(found [][]byte) value {
	v := n.left.eval(found)
	if v.kind != text {
		return value{}
	}
	is := false
	if n.set != nil {
		_, is = n.set[string(v.s)]
	}
	for _, s := range n.list {
		is = is || bytes.Equal(s, v.s)
	}
	return truth(is != n.not)
}
