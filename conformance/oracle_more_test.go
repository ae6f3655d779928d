package conformance

import (
	"fmt"
	"strings"
	"time"
)

// Topics with other numbers of queues to read than to write, groups that may not broadcast,
// filters from heartbeats, locks that others hold, and what is one-way.
func oracleMore(o *oracle) {
	o.topic(merged(topicSpec("orc-wide", 1), "readQueueNums", "4", "writeQueueNums", "2"))
	o.topic(merged(topicSpec("orc-narrow", 1), "readQueueNums", "2", "writeQueueNums", "4"))
	for _, topic := range []string{"orc-wide", "orc-narrow"} {
		o.ask(step{name: "route of " + topic, conn: "ns", code: cRoute, ext: fields{"topic": topic}})
		for q := range 5 {
			name := fmt.Sprintf("%s, queue %d", topic, q)
			got := o.send("send to "+name, cSendV2, shortSend(topic, q, "UNIQ_KEY", fmt.Sprint("W", q)), []byte("x"))
			end := step{name: "end of " + name, code: cMaxOffset, ext: fields{"topic": topic, "queueId": fmt.Sprint(q)}}
			if got[0].Code == 0 && got[1].Code == 0 && got[0].ExtFields["queueId"] == got[1].ExtFields["queueId"] {
				end.until = heard(got, "offset")
			}
			o.ask(end)
			o.ask(step{name: "offset in " + name, code: cQueryOffset, ext: fields{"consumerGroup": "orc-w", "topic": topic, "queueId": fmt.Sprint(q), "setZeroIfNotFound": "false"}})
			o.ask(step{name: "pull beyond " + name, code: cPull, ext: pullAt(topic, q, "5")})
		}
		o.ask(step{name: "stats of " + topic, code: cTopicStats, ext: fields{"topic": topic}})
	}
	o.ask(step{name: "topic that may not be written any more", code: cCreateTopic, ext: merged(topicSpec("orc-wide", 4), "perm", "4"), until: is(0)})
	o.ask(step{name: "config of it", code: cGetTopic, ext: fields{"topic": "orc-wide"}})
	o.ask(step{name: "pull of it", code: cPull, ext: pullAt("orc-wide", 1, "0")})

	o.ask(step{name: "group that may not broadcast", code: cUpdateGroup, body: `{"groupName":"orc-nb","consumeBroadcastEnable":false}`})
	beat := strings.Replace(consumerBeat("orc-nb1", "orc-nb", "", "orc-pull"), "CLUSTERING", "BROADCASTING", 1)
	o.ask(step{name: "heartbeat of who broadcasts", conn: "nb", code: cHeartbeat, body: beat})
	o.ask(step{name: "connections of who broadcasts", conn: "nb", code: cConsumerConns, ext: fields{"consumerGroup": "orc-nb"}})
	o.ask(step{name: "pull of who broadcasts", conn: "nb", code: cPull, ext: merged(pullAt("orc-pull", 0, "0"), "consumerGroup", "orc-nb", "sysFlag", "0", "subVersion", "1")})
	o.ask(step{name: "pull of who broadcasts, with its filter", conn: "nb", code: cPull, ext: merged(pullAt("orc-pull", 0, "0"), "consumerGroup", "orc-nb")})

	o.topic(topicSpec("orc-held", 2))
	sql := strings.Replace(consumerBeat("orc-f1", "orc-f", "", "orc-held"), `"TAG","subString":"*"`, `"SQL92","subString":"a > 1"`, 1)
	o.ask(step{name: "heartbeat with a filter", conn: "f", code: cHeartbeat, body: sql})
	for i := range 4 {
		o.quiet(step{code: cSendV2, ext: shortSend("orc-held", 0, "UNIQ_KEY", fmt.Sprint("H", i), "TAGS", "t", "a", fmt.Sprint(i)), body: "x", until: is(0)})
	}
	o.quiet(step{code: cPull, ext: pullAt("orc-held", 0, "3"), until: is(0)})
	own := merged(pullAt("orc-held", 0, "0"), "consumerGroup", "orc-f", "sysFlag", "0", "subVersion", "1", "subscription", "-", "expressionType", "SQL92")
	o.matched("pull by the filter of its heartbeat", own)
	o.matched("pull by tag of who has a filter", merged(own, "expressionType", "TAG"))
	bad := strings.Replace(sql, "a > 1", "a >", 1)
	o.ask(step{name: "heartbeat with what cannot be read", conn: "f2", code: cHeartbeat, body: strings.ReplaceAll(bad, "orc-f", "orc-fbad")})
	o.ask(step{name: "connections of who has a filter", code: cConsumerConns, ext: fields{"consumerGroup": "orc-f"}})

	// What is not wanted does not wake who waits; what is does.
	for _, x := range []struct{ name, tag string }{{"unwanted", "no"}, {"wanted", "yes"}} {
		end := o.quiet(step{code: cMaxOffset, ext: fields{"topic": "orc-held", "queueId": "1"}, until: is(0)})[0].ExtFields["offset"]
		var opaques [2]int32
		for i, s := range o.sides {
			opaques[i] = s.conn(o.t, "waiter2").send(cPull, merged(pullAt("orc-held", 1, end), "sysFlag", "6", "subscription", "yes", "suspendTimeoutMillis", "8000"), nil)
		}
		o.quiet(step{code: cSendV2, ext: shortSend("orc-held", 1, "UNIQ_KEY", "Z"+x.name, "TAGS", x.tag), body: "x", until: is(0)})
		var facts [2]fields
		for i, s := range o.sides {
			facts[i] = s.facts(s.conn(o.t, "waiter2").reply(opaques[i], 30*time.Second))
		}
		o.compare("held, and what comes is "+x.name, nil, facts)
	}

	// Another holds the lock.
	o.topic(topicSpec("orc-lock2", 1))
	o.ask(step{name: "heartbeat of a holder", conn: "h1", code: cHeartbeat, body: consumerBeat("orc-h1", "orc-h", "", "orc-lock2")})
	o.ask(step{name: "heartbeat of another member", conn: "h2", code: cHeartbeat, body: consumerBeat("orc-h2", "orc-h", "", "orc-lock2")})
	o.quiet(step{code: cSendV2, ext: shortSend("orc-lock2", 0, "UNIQ_KEY", "L"), body: "x", until: is(0)})
	o.ask(step{name: "lock of a holder", conn: "h1", code: cLock, body: `{"clientId":"orc-h1","consumerGroup":"orc-h","mqSet":[{"brokerName":"<<broker>>","queueId":0,"topic":"orc-lock2"}]}`})
	commit := fields{"consumerGroup": "orc-h", "topic": "orc-lock2", "queueId": "0", "commitOffset": "1"}
	o.ask(step{name: "commit without the lock", conn: "h2", code: cUpdateOffset, ext: commit})
	o.ask(step{name: "pull without the lock", conn: "h2", code: cPull, ext: merged(pullAt("orc-lock2", 0, "0"), "consumerGroup", "orc-h"), until: func(f *frame) bool { return f.Code != 19 }})
	o.ask(step{name: "commit with the lock", conn: "h1", code: cUpdateOffset, ext: commit})

	// One-way: nothing is answered, and it is done.
	for _, x := range []struct {
		name string
		code int
		ext  fields
		body string
	}{
		{"send", cSendV2, shortSend("orc-lock2", 0, "UNIQ_KEY", "OW"), "x"}, {"send to nowhere", cSendV2, merged(shortSend("orc-none", 0), "c", "x"), "x"}, {"commit", cUpdateOffset, merged(commit, "consumerGroup", "orc-ow"), ""},
		{"unlock", cUnlock, nil, `{"clientId":"orc-h1","consumerGroup":"orc-h","mqSet":[{"brokerName":"<<broker>>","queueId":0,"topic":"orc-lock2"}]}`},
		{"unregister", cUnregister, fields{"clientID": "orc-h2", "consumerGroup": "orc-h"}, ""}, {"an unknown code", 9999, nil, ""},
	} {
		var facts [2]fields
		for j, s := range o.sides {
			p := s.conn(o.t, "oneway")
			p.opaque++
			p.write(&frame{Code: x.code, Flag: flagOneway, Language: "JAVA", Version: 477, Opaque: p.opaque, ExtFields: x.ext, Serial: "JSON", Body: []byte(s.fill(x.body))})
			facts[j] = s.facts(p.reply(p.opaque, time.Second))
		}
		o.compare("one-way "+x.name, nil, facts)
	}
	o.ask(step{name: "end after a one-way send", code: cMaxOffset, ext: fields{"topic": "orc-lock2", "queueId": "0"}, until: func(f *frame) bool { return f.ExtFields["offset"] == "2" }})
	o.ask(step{name: "lock after a one-way unlock", code: cLock, body: `{"clientId":"orc-h9","consumerGroup":"orc-h","mqSet":[{"brokerName":"<<broker>>","queueId":0,"topic":"orc-lock2"}]}`})
}
