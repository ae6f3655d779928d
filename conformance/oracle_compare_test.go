package conformance

import (
	"encoding/base64"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// side is one of the two that are compared.
type side struct {
	name               string
	broker, nameServer string
	conns              map[string]*plain
	vars               map[string]string
	unordered          bool // of the answer that is looked at
}

// conn is the side's connection of a client; one that has ended is dialled again. Names
// that begin with "ns" go to the name server.
func (s *side) conn(t *testing.T, name string) *plain {
	t.Helper()
	if p := s.conns[name]; p != nil && p.broken == nil {
		return p
	}
	addr := s.broker
	if strings.HasPrefix(name, "ns") {
		addr = s.nameServer
	}
	p, err := dialPlain(addr)
	require.NoError(t, err)
	t.Cleanup(func() { p.nc.Close() })
	s.conns[name] = p
	return p
}

// fill puts the side's values for <<name>>.
func (s *side) fill(text string) string {
	for strings.Contains(text, "<<") {
		before, rest, _ := strings.Cut(text, "<<")
		name, after, _ := strings.Cut(rest, ">>")
		text = before + s.vars[name] + after
	}
	return text
}

// rename takes away what only says which side it is.
func (s *side) rename(v string) string {
	v = strings.ReplaceAll(v, s.vars["broker"], "BROKER")
	if name, topic := strings.CutSuffix(v, "_REPLY_TOPIC"); name == s.vars["cluster"] {
		v = "CLUSTER"
		if topic {
			v += "_REPLY_TOPIC"
		}
	}
	return v
}

var (
	hexIDs = regexp.MustCompile(`^[0-9A-F]{32,}(,[0-9A-F]{32,})*$`)
	// The other slots of raftmq, and the addresses of the other nodes.
	elsewhere = regexp.MustCompile(`raftmq-[1-9]|(broker|queue)Datas\[[1-9]|brokerAddrs\.[1-9]`)
	// Lists that are sets.
	inSet  = regexp.MustCompile(`^(body\.(?:connectionSet|consumerIdList|lockOKMQSet|groupList))\[(\d+)\](.*)$`)
	rates  = regexp.MustCompile(`Tps$`)
	anAddr = regexp.MustCompile(`127\.0\.0\.1[:@][0-9]+`)
)

// usual is a value without what must differ between two brokers: times, addresses, ids.
func (s *side) usual(v string) string {
	if n, err := strconv.ParseInt(v, 10, 64); err == nil {
		if d := time.Now().UnixMilli() - n; d > -(48*time.Hour).Milliseconds() && d < (48*time.Hour).Milliseconds() {
			return "TIME"
		}
		return v
	}
	if hexIDs.MatchString(v) {
		return fmt.Sprintf("%d IDS", strings.Count(v, ",")+1)
	}
	if b, err := base64.URLEncoding.DecodeString(v); err == nil && strings.HasPrefix(string(b), "v1 ") {
		words := strings.Split(string(b), " ")
		for i := range words {
			words[i] = s.usual(words[i])
		}
		return "HANDLE " + strings.Join(words[:min(5, len(words))], " ")
	}
	return anAddr.ReplaceAllString(s.rename(v), "ADDR")
}

// step is one request that both are asked.
type step struct {
	name string
	conn string // which client asks; "": the first
	code int
	ext  fields
	body string
	// wait is how long an answer may take.
	wait time.Duration
	// until, if it is there, asks again until it holds of an answer.
	until func(*frame) bool
	// of are the facts that are compared; nil: all.
	of *regexp.Regexp
	// raw is a body that is not filled.
	raw []byte
	// unordered: the messages of the answer are compared in the order of their queue.
	unordered bool
}

// oracle compares two sides.
type oracle struct {
	t     *testing.T
	sides [2]*side // the real broker, and raftmq
	rules []*rule
	steps int
	diffs int
}

type difference struct{ step, fact, real, ours string }

// ask asks both and compares.
func (o *oracle) ask(x step) [2]*frame {
	o.t.Helper()
	got := o.quiet(x)
	var facts [2]fields
	for i, s := range o.sides {
		s.unordered = x.unordered
		facts[i] = s.facts(got[i])
		s.unordered = false
	}
	if o.compare(x.name, x.of, facts) {
		o.t.Logf("%s: RocketMQ says %.200q, raftmq %.200q", x.name, got[0].Remark, got[1].Remark)
	}
	return got
}

// quiet asks both and compares nothing.
func (o *oracle) quiet(x step) (got [2]*frame) {
	o.t.Helper()
	o.steps++
	if x.wait == 0 {
		x.wait = 45 * time.Second
	}
	var opaques [2]int32
	send := func(i int) {
		s, ext, body := o.sides[i], make(fields), []byte(o.sides[i].fill(x.body))
		for k, v := range x.ext {
			ext[k] = s.fill(v)
		}
		if x.raw != nil {
			body = x.raw
		}
		opaques[i] = s.conn(o.t, x.conn).send(x.code, ext, body)
	}
	for i := range o.sides {
		send(i)
	}
	for i, s := range o.sides {
		for until := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
			got[i] = s.conn(o.t, x.conn).reply(opaques[i], x.wait)
			// 14: no leader yet. Who sends no heartbeat is hung up on after a while.
			again := got[i].Code == 14 || got[i].Code == codeClosed
			if x.until != nil {
				again = !x.until(got[i])
			}
			if !again || time.Now().After(until) {
				break
			}
			send(i)
		}
	}
	return got
}

// facts are what is compared of a frame.
func (s *side) facts(f *frame) fields {
	facts := fields{"code": strconv.Itoa(f.Code)}
	if f.Code < 0 {
		return facts
	}
	for k, v := range f.ExtFields {
		facts["ext."+k] = s.usual(v)
	}
	maps.Copy(facts, s.bodyFacts(f.Body))
	return facts
}

func (s *side) bodyFacts(body []byte) fields {
	facts := make(fields)
	switch {
	case len(body) == 0:
		facts["body"] = "none"
	case body[0] == '{' || body[0] == '[':
		facts["body"] = "JSON"
		values, err := flatten(string(body), s.rename)
		if err != nil {
			facts["body"] = err.Error()
		}
		sets := make(map[string]fields) // of an element what it has, in order
		for _, k := range slices.Sorted(maps.Keys(values)) {
			v := s.usual(values[k])
			switch m := inSet.FindStringSubmatch("body" + k); {
			case elsewhere.MatchString(k) || elsewhere.MatchString(v) && m != nil:
			case rates.MatchString(k):
				facts["body"+k] = "RATE"
			case m == nil:
				facts["body"+k] = v
			default:
				if sets[m[1]] == nil {
					sets[m[1]] = make(fields)
				}
				sets[m[1]][m[2]] += m[3] + "=" + v + " "
			}
		}
		for k, elements := range sets {
			facts[k] = strings.Join(slices.Sorted(maps.Values(elements)), "; ")
		}
	default:
		all, err := parseStored(body)
		if err != nil {
			facts["body"] = fmt.Sprintf("%d bytes: %v", len(body), err)
			break
		}
		facts["body"] = fmt.Sprintf("%d messages", len(all))
		if s.unordered {
			slices.SortFunc(all, func(a, b stored) int { return strings.Compare(a.fields["queueOffset"], b.fields["queueOffset"]) })
		}
		for i, m := range all {
			s.messageFacts(facts, fmt.Sprintf("msg%d.", i), m)
		}
	}
	return facts
}

func (s *side) messageFacts(facts fields, prefix string, m stored) {
	for k, v := range m.fields {
		if k != "physical" {
			facts[prefix+k] = s.usual(v)
		}
	}
	facts[prefix+"body"] = fmt.Sprintf("%.80q", m.body)
	for k, v := range m.props {
		facts[prefix+"prop."+k] = s.usual(v)
	}
}

// compare reports the differences that are not known; unknown: there are some.
func (o *oracle) compare(name string, of *regexp.Regexp, facts [2]fields) (unknown bool) {
	o.t.Helper()
	all := maps.Clone(facts[0])
	maps.Copy(all, facts[1])
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if of != nil && !of.MatchString(k) || k != "code" && facts[0]["code"] != facts[1]["code"] {
			continue
		}
		var v [2]string
		for i := range v {
			var ok bool
			if v[i], ok = facts[i][k]; !ok {
				v[i] = "absent"
			}
		}
		if v[0] == v[1] {
			continue
		}
		o.diffs++
		known := slices.ContainsFunc(o.rules, func(r *rule) bool { return r.covers(difference{name, k, v[0], v[1]}) })
		if !known {
			o.t.Errorf("%s: %s: RocketMQ %q, raftmq %q", name, k, v[0], v[1])
			unknown = true
		}
	}
	return unknown
}

// keep remembers a value of each side's answer under a name.
func (o *oracle) keep(name string, got [2]*frame, value func(*frame) string) {
	for i, s := range o.sides {
		s.vars[name] = value(got[i])
	}
}

func extOf(key string) func(*frame) string {
	return func(f *frame) string { return f.ExtFields[key] }
}

// known is a difference that is meant.
type known struct {
	step, fact string // expressions, whole
	real, ours string // values, "": any
	why        string
	maybe      bool // it need not come
}

// rule is a known difference and how often it came.
type rule struct {
	known
	step, fact *regexp.Regexp
	used       int
}

func rulesOf(table []known) (rules []*rule) {
	for _, k := range table {
		rules = append(rules, &rule{known: k, step: regexp.MustCompile("^(?:" + k.step + ")$"), fact: regexp.MustCompile("^(?:" + k.fact + ")$")})
	}
	return rules
}

func (r *rule) covers(d difference) bool {
	if !r.step.MatchString(d.step) || !r.fact.MatchString(d.fact) || r.real != "" && r.real != d.real || r.ours != "" && r.ours != d.ours {
		return false
	}
	r.used++
	return true
}
