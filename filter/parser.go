package filter

import (
	"math"
	"strconv"
	"strings"
)

// shortList of an IN is searched one by one.
const shortList = 8

// parser makes nodes of tokens; a function for each rule of the grammar, see the
// package's doc.
type parser struct {
	lexer
	names []string
	slots map[string]int
	nodes int
	depth int
}

func (p *parser) parse() (*node, error) {
	if len(p.text) > MaxText {
		return nil, newError(p.text, 0, "%d bytes, at most %d are possible", len(p.text), MaxText)
	}
	if err := p.next(); err != nil {
		return nil, err
	}
	if p.kind == tokenEnd {
		return nil, p.expected("a condition")
	}
	n, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.kind != tokenEnd {
		if p.is(")") {
			return nil, newError(p.text, p.at, "this ) closes nothing")
		}
		return nil, p.expected("AND, OR, an operator or the end")
	}
	return p.condition(n)
}

// expected is the error of a token that does not fit.
func (p *parser) expected(what string) error {
	if p.kind == tokenEnd {
		return newError(p.text, p.at, "expected %s, but the expression ends", what)
	}
	return newError(p.text, p.at, "expected %s, found %s", what, p.word())
}

// add counts a node.
func (p *parser) add(n *node) (*node, error) {
	if p.nodes++; p.nodes > MaxNodes {
		return nil, newError(p.text, n.at, "more than %d operands and operators", MaxNodes)
	}
	return n, nil
}

// condition is n where true or false is wanted.
func (p *parser) condition(n *node) (*node, error) {
	switch {
	case n.isCondition():
		return n, nil
	case n.op == opProperty:
		return p.add(&node{op: opCast, at: n.at, left: n})
	}
	return nil, newError(p.text, n.at, "expected a condition, found a value that is compared with nothing")
}

func (p *parser) or() (*node, error) { return p.joined(tokenOr, opOr, p.and) }

func (p *parser) and() (*node, error) { return p.joined(tokenAnd, opAnd, p.equality) }

// joined is one term, or several with a word between them.
func (p *parser) joined(word token, op operation, term func() (*node, error)) (*node, error) {
	first, err := term()
	if err != nil || p.kind != word {
		return first, err
	}
	n, err := p.add(&node{op: op, at: first.at})
	if err != nil {
		return nil, err
	}
	for t := first; ; {
		if t, err = p.condition(t); err != nil {
			return nil, err
		}
		n.terms = append(n.terms, t)
		if p.kind != word {
			return n, nil
		}
		if err := p.next(); err != nil {
			return nil, err
		}
		if t, err = term(); err != nil {
			return nil, err
		}
	}
}

func (p *parser) equality() (*node, error) {
	left, err := p.comparison()
	for err == nil {
		switch {
		case p.is("="), p.is("<>"):
			left, err = p.equals(left, p.is("<>"))
		case p.kind == tokenIs:
			left, err = p.isNull(left)
		default:
			return left, nil
		}
	}
	return nil, err
}

func (p *parser) equals(left *node, not bool) (*node, error) {
	if err := p.next(); err != nil {
		return nil, err
	}
	right, err := p.comparison()
	if err != nil {
		return nil, err
	}
	for _, n := range []*node{left, right} {
		if n.op == opConstant && n.value.kind == null {
			return nil, newError(p.text, n.at, "nothing equals NULL: write IS NULL or IS NOT NULL")
		}
	}
	if left.op == opConstant && right.op == opConstant && left.value.kind == boolean && right.value.kind != boolean {
		return nil, newError(p.text, right.at, "a boolean cannot be compared with this")
	}
	return p.negated(&node{op: opEqual, at: left.at, left: left, right: right}, not)
}

// negated is n, or NOT n.
func (p *parser) negated(n *node, not bool) (*node, error) {
	n, err := p.add(n)
	if err != nil || !not {
		return n, err
	}
	return p.add(&node{op: opNot, at: n.at, left: n})
}

func (p *parser) isNull(left *node) (*node, error) {
	if err := p.next(); err != nil {
		return nil, err
	}
	not := p.kind == tokenNot
	if not {
		if err := p.next(); err != nil {
			return nil, err
		}
	}
	if p.kind != tokenNull {
		if not {
			return nil, p.expected("NULL")
		}
		return nil, p.expected("NULL or NOT NULL")
	}
	right, err := p.add(&node{op: opConstant, at: p.at})
	if err != nil {
		return nil, err
	}
	if err := p.next(); err != nil {
		return nil, err
	}
	return p.negated(&node{op: opEqual, at: left.at, left: left, right: right}, not)
}

var orders = map[string]operation{"<": opLess, "<=": opLessEqual, ">": opGreater, ">=": opGreaterEqual}

var searches = map[token]operation{tokenContains: opContains, tokenStartsWith: opStartsWith, tokenEndsWith: opEndsWith}

func (p *parser) comparison() (*node, error) {
	left, err := p.unary()
	for err == nil {
		op, ordered := orders[p.word()]
		not := p.kind == tokenNot
		if not {
			if err := p.next(); err != nil {
				return nil, err
			}
		}
		_, search := searches[p.kind]
		switch {
		case ordered && p.kind == tokenSymbol:
			left, err = p.ordered(left, op)
		case search:
			left, err = p.search(left, not)
		case p.kind == tokenBetween:
			left, err = p.between(left, not)
		case p.kind == tokenIn:
			left, err = p.in(left, not)
		case not:
			return nil, p.expected("BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH after NOT")
		default:
			return left, nil
		}
	}
	return nil, err
}

func (p *parser) ordered(left *node, op operation) (*node, error) {
	if err := p.next(); err != nil {
		return nil, err
	}
	right, err := p.unary()
	if err != nil {
		return nil, err
	}
	return p.order(op, left, right)
}

// order is a comparison by size, of numbers and properties.
func (p *parser) order(op operation, left, right *node) (*node, error) {
	for _, n := range []*node{left, right} {
		number := n.value.kind == integer || n.value.kind == long || n.value.kind == double
		if n.isCondition() || n.op == opConstant && !number {
			return nil, newError(p.text, n.at, "only numbers and properties have an order: this cannot be compared by size")
		}
	}
	return p.add(&node{op: op, at: left.at, left: left, right: right})
}

func (p *parser) search(left *node, not bool) (*node, error) {
	n := &node{op: searches[p.kind], at: left.at, left: left, not: not}
	if err := p.next(); err != nil {
		return nil, err
	}
	s, err := p.string()
	if err != nil {
		return nil, err
	}
	n.value = value{kind: text, s: s}
	return p.add(n)
}

func (p *parser) between(left *node, not bool) (*node, error) {
	if err := p.next(); err != nil {
		return nil, err
	}
	low, err := p.unary()
	if err != nil {
		return nil, err
	}
	if p.kind != tokenAnd {
		return nil, p.expected("AND and the upper bound")
	}
	if err := p.next(); err != nil {
		return nil, err
	}
	high, err := p.unary()
	if err != nil {
		return nil, err
	}
	join, lower, upper := opAnd, opGreaterEqual, opLessEqual
	if not {
		join, lower, upper = opOr, opLess, opGreater
	}
	a, err := p.order(lower, left, low)
	if err != nil {
		return nil, err
	}
	b, err := p.order(upper, left, high)
	if err != nil {
		return nil, err
	}
	if !not && low.op == opConstant && high.op == opConstant {
		if c, ok := compare(high.value, low.value); !ok || c < 0 {
			return nil, newError(p.text, low.at, "the lower bound is above the upper one")
		}
	}
	return p.add(&node{op: join, at: left.at, terms: []*node{a, b}})
}

func (p *parser) in(left *node, not bool) (*node, error) {
	if left.op != opProperty {
		return nil, newError(p.text, left.at, "expected a property before IN")
	}
	if err := p.next(); err != nil {
		return nil, err
	}
	if !p.is("(") {
		return nil, p.expected("( and a list of strings")
	}
	n := &node{op: opIn, at: left.at, left: left, not: not}
	for {
		if err := p.next(); err != nil {
			return nil, err
		}
		s, err := p.string()
		if err != nil {
			return nil, err
		}
		n.list = append(n.list, s)
		if p.is(")") {
			break
		}
		if !p.is(",") {
			return nil, p.expected(", or )")
		}
	}
	if len(n.list) > shortList {
		n.set = make(map[string]struct{}, len(n.list))
		for _, s := range n.list {
			n.set[string(s)] = struct{}{}
		}
		n.list = nil
	}
	if err := p.next(); err != nil {
		return nil, err
	}
	return p.add(n)
}

func (p *parser) unary() (*node, error) {
	if p.depth++; p.depth > MaxDepth {
		return nil, newError(p.text, p.at, "more than %d levels", MaxDepth)
	}
	defer func() { p.depth-- }()
	sign, at := p.word(), p.at
	switch {
	case p.is("+"), p.is("-"), p.kind == tokenNot:
		if err := p.next(); err != nil {
			return nil, err
		}
		n, err := p.unary()
		if err != nil || sign == "+" {
			return n, err
		}
		if sign == "-" {
			return p.add(&node{op: opNegate, at: at, left: n})
		}
		if n, err = p.condition(n); err != nil {
			return nil, err
		}
		return p.add(&node{op: opNot, at: at, left: n})
	}
	return p.primary()
}

func (p *parser) primary() (*node, error) {
	n := &node{op: opConstant, at: p.at}
	var err error
	switch {
	case p.is("("):
		return p.parenthesis()
	case p.kind == tokenString:
		n.value = value{kind: text}
		if n.value.s, err = p.string(); err != nil {
			return nil, err
		}
		return p.add(n)
	case p.kind == tokenInteger:
		n.value, err = p.integer()
	case p.kind == tokenDecimal:
		n.value, err = p.decimal()
	case p.kind == tokenTrue, p.kind == tokenFalse:
		n.value = truth(p.kind == tokenTrue)
	case p.kind == tokenNull:
	case p.kind == tokenName:
		n.op, n.slot = opProperty, p.property()
	default:
		return nil, p.expected("a property, a string or a number")
	}
	if err != nil {
		return nil, err
	}
	if err := p.next(); err != nil {
		return nil, err
	}
	return p.add(n)
}

func (p *parser) parenthesis() (*node, error) {
	open := p.at
	if err := p.next(); err != nil {
		return nil, err
	}
	n, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.kind == tokenEnd {
		return nil, newError(p.text, open, "this ( is not closed")
	}
	if !p.is(")") {
		return nil, p.expected("AND, OR, an operator or )")
	}
	return n, p.next()
}

// property is the place of a name among those of the expression.
func (p *parser) property() int {
	name := p.word()
	n, ok := p.slots[name]
	if !ok {
		n = len(p.names)
		p.slots[name] = n
		p.names = append(p.names, name)
	}
	return n
}

// string takes a string.
func (p *parser) string() ([]byte, error) {
	if p.kind != tokenString {
		return nil, p.expected("a string in single quotes")
	}
	w := p.word()
	return []byte(strings.ReplaceAll(w[1:len(w)-1], "''", "'")), p.next()
}

func (p *parser) integer() (value, error) {
	w := strings.TrimRight(p.word(), "lL")
	if len(w) > 1 && w[0] == '0' {
		return value{}, newError(p.text, p.at, "a number does not begin with 0")
	}
	n, err := strconv.ParseInt(w, 10, 64)
	if err != nil {
		return value{}, newError(p.text, p.at, "%s does not fit 64 bits", w)
	}
	if n <= math.MaxInt32 {
		return value{kind: integer, n: n}, nil
	}
	return value{kind: long, n: n}, nil
}

func (p *parser) decimal() (value, error) {
	w := p.word()
	f, err := strconv.ParseFloat(w, 64)
	mantissa, _, _ := strings.Cut(strings.ToLower(w), "e")
	if err != nil || f == 0 && strings.Trim(mantissa, "0.") != "" {
		return value{}, newError(p.text, p.at, "%s is not in the range of a double", w)
	}
	return value{kind: double, f: f}, nil
}
