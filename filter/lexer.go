package filter

import (
	"strings"
	"unicode/utf8"
)

type token uint8

const (
	tokenEnd token = iota
	tokenName
	tokenString
	tokenInteger
	tokenDecimal
	tokenSymbol
	tokenNot
	tokenAnd
	tokenOr
	tokenBetween
	tokenIn
	tokenTrue
	tokenFalse
	tokenNull
	tokenIs
	tokenContains
	tokenStartsWith
	tokenEndsWith
)

var words = map[string]token{
	"NOT": tokenNot, "AND": tokenAnd, "OR": tokenOr, "BETWEEN": tokenBetween, "IN": tokenIn, "TRUE": tokenTrue, "FALSE": tokenFalse,
	"NULL": tokenNull, "IS": tokenIs, "CONTAINS": tokenContains, "STARTSWITH": tokenStartsWith, "ENDSWITH": tokenEndsWith,
}

// lexer cuts text into tokens. It is at one; next takes the following.
type lexer struct {
	text string
	kind token
	at   int // where the token begins
	end  int // and ends
}

// word is the token as it is written.
func (l *lexer) word() string { return l.text[l.at:l.end] }

// is reports whether the token is that symbol.
func (l *lexer) is(symbol string) bool { return l.kind == tokenSymbol && l.word() == symbol }

func (l *lexer) next() error {
	if err := l.skip(); err != nil {
		return err
	}
	l.at = l.end
	rest := l.text[l.at:]
	take := func(k token, n int) error {
		l.kind, l.end = k, l.at+n
		return nil
	}
	if rest == "" {
		return take(tokenEnd, 0)
	}
	switch c := rest[0]; {
	case c == '\'':
		n := stringLength(rest)
		if n == 0 {
			return newError(l.text, l.at, "the string has no end: a ' is missing")
		}
		return take(tokenString, n)
	case isDigit(c) || c == '.' && len(rest) > 1 && isDigit(rest[1]):
		return take(numberLength(rest))
	case isLetter(c):
		n := 1
		for n < len(rest) && (isLetter(rest[n]) || isDigit(rest[n])) {
			n++
		}
		k, ok := words[strings.ToUpper(rest[:n])]
		if !ok {
			k = tokenName
		}
		return take(k, n)
	case strings.HasPrefix(rest, "<>") || strings.HasPrefix(rest, "<=") || strings.HasPrefix(rest, ">="):
		return take(tokenSymbol, 2)
	case strings.IndexByte("=<>(),+-", c) >= 0:
		return take(tokenSymbol, 1)
	case c == '!':
		return newError(l.text, l.at, "! is not known: not equal is <>, not is NOT")
	case c == '"':
		return newError(l.text, l.at, "\" is not known: strings are in single quotes")
	case c == '|' || c == '&':
		return newError(l.text, l.at, "%c is not known: conditions are joined by AND and OR", c)
	}
	r, _ := utf8.DecodeRuneInString(rest)
	return newError(l.text, l.at, "%q is not known here", r)
}

// skip passes blanks and comments over.
func (l *lexer) skip() error {
	for {
		l.end += len(l.text[l.end:]) - len(strings.TrimLeft(l.text[l.end:], " \t\n\r\f"))
		rest := l.text[l.end:]
		switch {
		case strings.HasPrefix(rest, "--"):
			n := strings.IndexAny(rest, "\r\n")
			if n < 0 {
				n = len(rest)
			}
			l.end += n
		case strings.HasPrefix(rest, "/*"):
			n := strings.Index(rest[2:], "*/")
			if n < 0 {
				return newError(l.text, l.end, "the comment has no end: */ is missing")
			}
			l.end += n + 4
		default:
			return nil
		}
	}
}

func isLetter(c byte) bool { return c|' ' >= 'a' && c|' ' <= 'z' || c == '_' || c == '$' }

// stringLength is that of the string in quotes at the start of s; 0 if it has no end.
func stringLength(s string) int {
	for i := 1; i < len(s); i++ {
		if s[i] != '\'' {
			continue
		}
		if i+1 == len(s) || s[i+1] != '\'' {
			return i + 1
		}
		i++
	}
	return 0
}

// numberLength is the kind and the length of the number at the start of s.
func numberLength(s string) (token, int) {
	digits := func(from int) int {
		for from < len(s) && isDigit(s[from]) {
			from++
		}
		return from
	}
	n := digits(0)
	kind := tokenInteger
	if n < len(s) && s[n] == '.' {
		kind, n = tokenDecimal, digits(n+1)
	}
	if n < len(s) && s[n]|' ' == 'e' {
		e := n + 1
		if e < len(s) && (s[e] == '+' || s[e] == '-') {
			e++
		}
		if end := digits(e); end > e {
			kind, n = tokenDecimal, end
		}
	}
	if kind == tokenInteger && n < len(s) && s[n]|' ' == 'l' {
		n++
	}
	return kind, n
}
