package filter

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Error says why an expression cannot be used, and where.
type Error struct {
	Text   string // the expression
	Offset int    // of the mistake, in bytes
	Line   int    // from 1
	Column int    // from 1, in characters
	Reason string
}

func (e *Error) Error() string {
	return fmt.Sprintf("filter: line %d, column %d: %s", e.Line, e.Column, e.Reason)
}

// Caret is the line of the mistake, and one below it that points to it.
func (e *Error) Caret() string {
	start := strings.LastIndexByte(e.Text[:e.Offset], '\n') + 1
	line, _, _ := strings.Cut(e.Text[start:], "\n")
	line = strings.TrimRight(line, "\r")
	pad := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, e.Text[start:e.Offset])
	return line + "\n" + pad + "^"
}

func newError(text string, at int, format string, args ...any) *Error {
	before := text[:at]
	line := strings.Count(before, "\n") + 1
	return &Error{Text: text, Offset: at, Line: line, Column: utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1, Reason: fmt.Sprintf(format, args...)}
}
