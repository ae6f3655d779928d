package filter

import "bytes"

// Bounds of an expression. They bound what one costs per message, too.
const (
	MaxText  = 4096 // bytes
	MaxNodes = 512  // operands and operators
	MaxDepth = 64   // parentheses and signs inside each other
)

// few properties are found by comparing each name; more in a table.
const few = 8

// Expression is a compiled SQL92 expression. It is not changed by its use, which may
// be concurrent.
type Expression struct {
	text  string
	root  *node
	names []string       // of properties, each once; a node names one by its place here
	index map[string]int // of names, if they are more than few
}

// Compile reads an expression. A mistake is an *Error.
func Compile(text string) (*Expression, error) {
	p := &parser{lexer: lexer{text: text}, slots: make(map[string]int)}
	root, err := p.parse()
	if err != nil {
		return nil, err
	}
	e := &Expression{text: text, root: root, names: p.names}
	if len(e.names) > few {
		e.index = p.slots
	}
	return e, nil
}

// String is the text that was compiled.
func (e *Expression) String() string { return e.text }

// Match reports whether the expression is true of a message with these properties, in
// their stored form. Of a name that is there twice the last counts.
func (e *Expression) Match(properties []byte) bool {
	v := e.evaluate(properties)
	return v.kind == boolean && v.n == 1
}

func (e *Expression) evaluate(properties []byte) value {
	var room [few][]byte
	found := room[:min(len(e.names), few)]
	if len(e.names) > few {
		found = make([][]byte, len(e.names))
	}
	e.find(properties, found)
	return e.root.eval(found)
}

// find puts the values of the properties that the expression names into found.
func (e *Expression) find(properties []byte, found [][]byte) {
	const nameEnd, valueEnd = 0x01, 0x02
	for len(properties) > 0 {
		pair := properties
		if i := bytes.IndexByte(properties, valueEnd); i >= 0 {
			pair, properties = properties[:i], properties[i+1:]
		} else {
			properties = nil
		}
		i := bytes.IndexByte(pair, nameEnd)
		if i <= 0 || i+1 == len(pair) {
			continue
		}
		if n, ok := e.slot(pair[:i]); ok {
			found[n] = pair[i+1:]
		}
	}
}

func (e *Expression) slot(name []byte) (int, bool) {
	if e.index != nil {
		n, ok := e.index[string(name)]
		return n, ok
	}
	for n, s := range e.names {
		if s == string(name) {
			return n, true
		}
	}
	return 0, false
}
