package message

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// Limits of a topic's placement rules.
const (
	MaxPlacementRules = 64
	MaxPlacementText  = 2 << 10
)

// ErrPlacement: rules that cannot be read; the error says which, and where.
var ErrPlacement = errors.New("message: illegal placement rules")

// Placement says which queue of a topic a message goes to, whatever its sender chose:
// rules joined by ';', of which the first that matches counts. A rule is
//
//	MATCH : TARGET
//
//	MATCH   key | tag | property NAME      messages that have one
//	        MATCH=VALUE                    those with that value
//	        MATCH=PREFIX*                  those whose value begins so
//	TARGET  N                              queue N
//	        N-M                            one of the queues N to M, by the value's hash
//	        all                            one of all, by the value's hash
//
// Queues are numbered among those of the topic that can be written: queue N is queue
// N/P of the topic's partition N%P, of P. So a topic that is given more queues keeps the
// numbers it had. Of several keys the first counts.
type Placement struct {
	rules []placementRule
	text  string
}

type placementRule struct {
	property string // KEYS, TAGS, or another
	value    string // "" with any: any
	any      bool   // anything that begins with value
	from, to int    // to below 0: all
}

// ParsePlacement reads rules. None is no error, and places nothing.
func ParsePlacement(text string) (*Placement, error) {
	if len(text) > MaxPlacementText {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrPlacement, len(text), MaxPlacementText)
	}
	p := &Placement{text: text}
	at := 0
	for i, rule := range strings.Split(text, ";") {
		fail := func(off int, format string, args ...any) error {
			return fmt.Errorf("%w: rule %d, at character %d: %s", ErrPlacement, i+1, at+off+1, fmt.Sprintf(format, args...))
		}
		if strings.TrimSpace(rule) != "" {
			if len(p.rules) == MaxPlacementRules {
				return nil, fail(0, "more than %d rules", MaxPlacementRules)
			}
			r, off, why := parseRule(rule)
			if why != "" {
				return nil, fail(off, "%s", why)
			}
			p.rules = append(p.rules, r)
		}
		at += len(rule) + 1
	}
	return p, nil
}

// parseRule reads one rule; why says what is wrong at off.
func parseRule(s string) (r placementRule, off int, why string) {
	blank := len(s) - len(strings.TrimLeft(s, " \t\r\n"))
	if i := strings.IndexAny(s, ",\x00\x01\x02"); i >= 0 {
		return r, i, "a comma or a control character cannot be in a rule"
	}
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 {
		return r, blank, `a rule is MATCH : TARGET, like "key : all"`
	}
	match, target := strings.TrimSpace(s[:colon]), strings.TrimSpace(s[colon+1:])
	name, value, valued := strings.Cut(match, "=")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	switch word, rest, _ := strings.Cut(name, " "); {
	case name == "key":
		r.property = PropKeys
	case name == "tag":
		r.property = PropTags
	case word == "property" && strings.TrimSpace(rest) != "":
		r.property = strings.TrimSpace(rest)
	default:
		return r, blank, fmt.Sprintf("%q is not key, tag or property NAME", name)
	}
	r.value, r.any = strings.CutSuffix(value, "*")
	switch {
	case !valued:
		r.any = true
	case value == "":
		return r, blank + strings.IndexByte(s[blank:], '=') + 1, "the value is empty"
	}
	where := colon + 1
	if target == "all" {
		r.to = -1
		return r, 0, ""
	}
	first, last, ranged := strings.Cut(target, "-")
	var err error
	if r.from, err = strconv.Atoi(strings.TrimSpace(first)); err != nil || r.from < 0 {
		return r, where, fmt.Sprintf("%q is not a queue like 3, a range like 0-3, or all", target)
	}
	r.to = r.from
	if ranged {
		if r.to, err = strconv.Atoi(strings.TrimSpace(last)); err != nil || r.to < r.from {
			return r, where, fmt.Sprintf("%q is not a range like 0-3", target)
		}
	}
	return r, 0, ""
}

// Rules is how many there are.
func (p *Placement) Rules() int { return len(p.rules) }

// String is the text that was read.
func (p *Placement) String() string { return p.text }

// Check refuses rules that name a queue which a topic of so many does not have.
func (p *Placement) Check(queues int) error {
	for i, r := range p.rules {
		if r.to >= queues {
			return fmt.Errorf("%w: rule %d names queue %d; the topic has queues 0 to %d", ErrPlacement, i+1, r.to, queues-1)
		}
	}
	return nil
}

// Choose returns the queue of a message with these properties ("" of one that it does
// not have), of so many, and the rule, from 1, that says so; ok false: none does.
func (p *Placement) Choose(property func(name string) string, queues int) (queue, rule int, ok bool) {
	for i, r := range p.rules {
		v := property(r.property)
		if r.property == PropKeys {
			v, _, _ = strings.Cut(strings.TrimSpace(v), " ")
		}
		if v == "" || !r.any && v != r.value || r.any && !strings.HasPrefix(v, r.value) {
			continue
		}
		from, to := r.from, r.to
		if to < 0 {
			to = queues - 1
		}
		if to >= queues || queues <= 0 {
			return 0, 0, false
		}
		if to > from {
			h := fnv.New32a()
			h.Write([]byte(v))
			from += int(h.Sum32() % uint32(to-from+1))
		}
		return from, i + 1, true
	}
	return 0, 0, false
}
