package conformance

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Filters by SQL92 and by tags: which messages come.
func oracleFilters(o *oracle) {
	o.topic(topicSpec("orc-sql", 1))
	for i, pairs := range [][]string{
		{"a", "1", "b", "x"}, {"a", "2.5"}, {"a", "abc", "b", "X"}, {}, {"a", "10", "b", "y", "c", "true"}, {"b", "it's", "c", "false"}, {"a", "-3", "b", "xyz"}, {"a", "1e3"},
		{"a", "9223372036854775807"}, {"c", "TRUE", "d", "1"}, {"a", "0", "b", " x"}, {"a", "01", "b", "日本"}, {"a", "1.0", "c", "yes"}, {"a", "99999999999999999999"}, {"a", ".5"}, {"a", "+1"}, {"a", " 1"},
	} {
		o.quiet(step{code: cSendV2, ext: shortSend("orc-sql", 0, append([]string{"UNIQ_KEY", fmt.Sprint("F", i), "KEYS", fmt.Sprint("k", i)}, pairs...)...), body: "x", until: is(0)})
	}
	all := pullAt("orc-sql", 0, "0")
	o.quiet(step{code: cPull, ext: pullAt("orc-sql", 0, "16"), until: is(0)})
	for _, x := range []string{
		"a = 1", "a <> 1", "a > 1", "a >= 2.5", "a < 0", "a <= 0", "a BETWEEN 1 AND 10", "a NOT BETWEEN 1 AND 10", "a IS NULL", "a IS NOT NULL", "b = 'x'", "b <> 'x'",
		"b IN ('x','y')", "b NOT IN ('x')", "b IN ('x', 'y', 'it''s')", "c = TRUE", "c = FALSE", "c", "NOT c", "NOT (c = TRUE)", "c IS NOT NULL AND c = FALSE", "a = 1 OR b = 'y'", "a = 1 AND b = 'x'",
		"(a = 1 OR a = 10) AND b IS NOT NULL", "b = 'it''s'", "a = '1'", "1 = 1", "1 = a", "a = b", "b > 'w'", "b CONTAINS 'x'", "b STARTSWITH 'x'", "b ENDSWITH 's'", "b NOT CONTAINS 'x'",
		"b NOT STARTSWITH 'x'", "b NOT ENDSWITH 'x'", "TAGS = 'odd'", "KEYS IS NOT NULL", "KEYS = 'k3'", "a > 1.5", "a = 1.0", "a > -5", "a = +1", "a BETWEEN 10 AND 1", "a + 1 = 2", "a LIKE '1%'",
		"TRUE", "FALSE", "NULL", "a = NULL", "a == 1", "a != 1", "a IN (1,2)", "'x' = b", "UNIQ_KEY = 'F1'", "a = 0x1", "a > 'abc'", "b in ('x')", "b is null", "a between 1 and 2.5", "a = 1L", "a = 1e0",
		".5 < a", "1. < a", "a > 9223372036854775806", "a > 9223372036854775808", "a = 9223372036854775807", "NOT a = 1", "NOT a IS NULL", "a = 1 AND", "", " ", "()", "a", "b", "d", "d = 1", "d = TRUE", "c = 'true'",
		"c <> TRUE", "TRUE = c", "a > 1 AND a < 100 OR b = 'x' AND c IS NULL", "a IS NOT NULL AND NOT a > 1", "-a = 3", "a = - 3", "a -- comment", "/* x */ a = 1", "_x IS NULL", "$x IS NULL", "x.y IS NULL", "日 IS NULL",
		"b = '日本'", "b = \"x\"", "a > b", "b BETWEEN 'a' AND 'z'", "a BETWEEN '1' AND '2'", "b IN ()", "a = 1 = 1", "(a = 1) = TRUE", "a > 1 > 0", "a IS TRUE", "NOT NOT c", "a = 1;", "a\t=\n1", "nosuch = 1", "nosuch <> 1",
		"NOT nosuch = 1", "nosuch > 1 OR a = 1", "a = 1 OR nosuch > 1", "a = 1 AND nosuch > 1", "NOT (a = 1 AND nosuch > 1)", "b CONTAINS ''", "b CONTAINS 1", "c = TRUE AND a = 10", "c OR a = 1", "c AND TRUE", "a BETWEEN 1 AND 2 AND b = 'x'",
		strings.Repeat("a = 1 OR ", 50) + "a = 2.5", strings.Repeat("(", 50) + "a = 1" + strings.Repeat(")", 50),
	} {
		name := fmt.Sprintf("filter %.60q", x)
		expr, _ := json.Marshal(x)
		got := o.ask(step{name: name + ", may be read", code: cCheckClient, body: fmt.Sprintf(`{"clientId":"orc-a","group":"orc-g","subscriptionData":{"classFilterMode":false,"codeSet":[],"expressionType":"SQL92","subString":%s,"subVersion":1,"tagsSet":[],"topic":"orc-sql"}}`, expr)})
		if got[0].Code == 0 && got[1].Code == 0 {
			o.matched(name, merged(all, "subscription", x, "expressionType", "SQL92"))
		}
	}
	o.topic(topicSpec("orc-tags", 1))
	for i, tag := range []string{"Aa", "BB", "x", "x y", "*", "X", "日", "", "x||y", "a,b"} { // Aa and BB have one hash
		pairs := []string{"UNIQ_KEY", fmt.Sprint("G", i)}
		if tag != "" {
			pairs = append(pairs, "TAGS", tag)
		}
		o.quiet(step{code: cSendV2, ext: shortSend("orc-tags", 0, pairs...), body: "x", until: is(0)})
	}
	o.quiet(step{code: cPull, ext: pullAt("orc-tags", 0, "9"), until: is(0)})
	for _, x := range []string{"*", "Aa", "BB", "x", " x ", "x || X", "x||X", "x|X", "||", " ", "x ||", "|| x", "*||x", "x || *", "日", "x y", "a,b", "nobody", "x||y", "X||nobody"} {
		o.matched(fmt.Sprintf("tags %q", x), merged(pullAt("orc-tags", 0, "0"), "subscription", x))
	}
}

// matched compares which messages come.
func (o *oracle) matched(name string, ext fields) {
	o.t.Helper()
	got := o.quiet(step{code: cPull, ext: ext})
	var facts [2]fields
	for i := range o.sides {
		facts[i] = fields{"code": fmt.Sprint(got[i].Code), "next": got[i].ExtFields["nextBeginOffset"]}
		all, err := parseStored(got[i].Body)
		if err != nil {
			facts[i]["messages"] = err.Error()
			continue
		}
		var ids []string
		for _, m := range all {
			ids = append(ids, m.props["UNIQ_KEY"])
		}
		facts[i]["messages"] = strings.Join(ids, " ")
	}
	if o.compare(name, nil, facts) {
		o.t.Logf("%s: RocketMQ says %.200q, raftmq %.200q", name, got[0].Remark, got[1].Remark)
	}
}

// 324, 325, 326, and what is one-way.
func oracleReplies(o *oracle) {
	o.topic(topicSpec("orc-req", 1))
	o.ask(step{name: "heartbeat of a requester", conn: "req", code: cHeartbeat, body: `{"clientID":"orc-req","consumerDataSet":[],"producerDataSet":[{"groupName":"orc-reqp"}]}`})
	o.send("request", cSendV2, shortSend("orc-req", 0, "UNIQ_KEY", "Q", "CORRELATION_ID", "c1", "REPLY_TO_CLIENT", "orc-req", "TTL", "3000"), []byte("question"))
	for _, x := range []struct {
		name string
		code int
	}{{"reply 324", 324}, {"reply 325", 325}} {
		ext := merged(shortSend("<<cluster>>_REPLY_TOPIC", 0, "UNIQ_KEY", "A"+x.name, "CORRELATION_ID", "c1", "REPLY_TO_CLIENT", "orc-req", "MSG_TYPE", "reply", "TTL", "3000"), "c", "DefaultTopic")
		if x.code == 324 {
			ext = merged(longSend("<<cluster>>_REPLY_TOPIC", 0), "defaultTopic", "DefaultTopic", "properties", ext["i"])
		}
		var opaques [2]int32
		var facts, told [2]fields
		for i, s := range o.sides {
			filled := make(fields)
			for k, v := range ext {
				filled[k] = s.fill(v)
			}
			opaques[i] = s.conn(o.t, "res").send(x.code, filled, []byte("answer"))
		}
		for i, s := range o.sides {
			f := s.conn(o.t, "req").push(326, 20*time.Second)
			facts[i] = s.facts(f)
			for _, pair := range strings.Split(f.ExtFields["properties"], "\x02") {
				if k, v, ok := strings.Cut(pair, "\x01"); ok {
					facts[i]["prop."+k] = s.usual(v)
				}
			}
			delete(facts[i], "ext.properties")
			facts[i]["body"] = fmt.Sprintf("%.80q", f.Body)
			facts[i]["oneway"] = fmt.Sprint(f.Flag&flagOneway != 0)
			if f.Flag&flagOneway == 0 {
				s.conn(o.t, "req").answer(f, 0, nil)
			}
			told[i] = s.facts(s.conn(o.t, "res").reply(opaques[i], 20*time.Second))
		}
		o.compare(x.name+", pushed", nil, facts)
		o.compare(x.name, nil, told)
	}
	reply := merged(shortSend("<<cluster>>_REPLY_TOPIC", 0, "UNIQ_KEY", "N", "CORRELATION_ID", "c1", "REPLY_TO_CLIENT", "orc-nobody", "MSG_TYPE", "reply", "TTL", "3000"), "c", "DefaultTopic")
	o.ask(step{name: "reply to nobody", conn: "res", code: 325, ext: reply, body: "answer"})
	o.ask(step{name: "reply without a requester", conn: "res", code: 325, ext: merged(reply, "i", props("CORRELATION_ID", "c1", "MSG_TYPE", "reply")), body: "answer"})
	// More than a pull gives at once.
	o.topic(topicSpec("orc-many", 1))
	for i := range 4 {
		bodies := make([]string, 20)
		o.quiet(step{code: cSendBatch, ext: merged(shortSend("orc-many", 0), "m", "true"), raw: batchBody(0, props("UNIQ_KEY", fmt.Sprint("M", i)), bodies...), until: is(0)})
	}
	o.quiet(step{code: cPull, ext: pullAt("orc-many", 0, "79"), until: is(0)})
	o.matched("pull of 32", pullAt("orc-many", 0, "0"))
	o.matched("pull of 40", merged(pullAt("orc-many", 0, "0"), "maxMsgNums", "40"))
	o.matched("pull of 100", merged(pullAt("orc-many", 0, "0"), "maxMsgNums", "100"))
	o.matched("pull of 100 by a tag nobody has", merged(pullAt("orc-many", 0, "0"), "maxMsgNums", "100", "subscription", "nobody"))
	o.matched("pull of 3 by a tag nobody has", merged(pullAt("orc-many", 0, "0"), "maxMsgNums", "3", "subscription", "nobody"))
}
