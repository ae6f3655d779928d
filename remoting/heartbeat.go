package remoting

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Words of a heartbeat.
const (
	ConsumeActively  = "CONSUME_ACTIVELY"
	ConsumePassively = "CONSUME_PASSIVELY"
	Clustering       = "CLUSTERING"
	Broadcasting     = "BROADCASTING"
	FromLastOffset   = "CONSUME_FROM_LAST_OFFSET"
	FromFirstOffset  = "CONSUME_FROM_FIRST_OFFSET"
	FromTimestamp    = "CONSUME_FROM_TIMESTAMP"
)

// HeartbeatData is the body of Heartbeat.
type HeartbeatData struct {
	ClientID        string             `json:"clientID"`
	ConsumerDataSet list[ConsumerData] `json:"consumerDataSet"`
	Fingerprint     int32              `json:"heartbeatFingerprint"` // not 0: heartbeat V2
	ProducerDataSet list[ProducerData] `json:"producerDataSet"`
	WithoutSub      bool               `json:"withoutSub"` // V2: subscriptions are left out, not removed
}

// ConsumerData is one consumer group of a client.
type ConsumerData struct {
	ConsumeFromWhere    string                 `json:"consumeFromWhere"`
	ConsumeType         string                 `json:"consumeType"`
	GroupName           string                 `json:"groupName"`
	MessageModel        string                 `json:"messageModel"`
	SubscriptionDataSet list[SubscriptionData] `json:"subscriptionDataSet"`
	UnitMode            bool                   `json:"unitMode"`

	// Of clients of ours.
	Strategy string `json:"strategy,omitempty"` // by which queues are shared; "": average, or none are
	Joined   int64  `json:"joined,omitempty"`   // since when it is a member, Unix ms
}

// ProducerData is one producer group of a client.
type ProducerData struct {
	GroupName string `json:"groupName"`
}

// SubscriptionData is what a group wants of a topic.
type SubscriptionData struct {
	ClassFilterMode bool         `json:"classFilterMode"`
	CodeSet         CodeSet      `json:"codeSet"`
	ExpressionType  string       `json:"expressionType"` // TAG or SQL92
	SubString       string       `json:"subString"`      // "*", tags joined by ||, or an expression
	SubVersion      int64        `json:"subVersion"`     // ms from Java, ns from Go
	TagsSet         list[string] `json:"tagsSet"`
	Topic           string       `json:"topic"`
}

// UnmarshalJSON takes the version as a number or, of the C++ client and those that are made
// of it, as a string.
func (s *SubscriptionData) UnmarshalJSON(b []byte) error {
	type plain SubscriptionData
	x := struct {
		*plain
		SubVersion number `json:"subVersion"`
	}{plain: (*plain)(s)}
	if err := json.Unmarshal(b, &x); err != nil {
		return err
	}
	s.SubVersion = int64(x.SubVersion)
	return nil
}

// number is a whole number, in quotes or not.
type number int64

func (n *number) UnmarshalJSON(b []byte) error {
	text := string(b)
	if len(b) > 1 && b[0] == '"' {
		text = text[1 : len(text)-1]
	}
	if text == "null" {
		return nil
	}
	v, err := strconv.ParseInt(text, 10, 64)
	*n = number(v)
	return err
}

// CheckClient is the body of CheckClientConfig: a subscription that a client is about to
// use.
type CheckClient struct {
	ClientID         string            `json:"clientId"`
	Group            string            `json:"group"`
	Namespace        string            `json:"namespace,omitempty"`
	SubscriptionData *SubscriptionData `json:"subscriptionData"` // nil: nothing to check
}

// Types of expressions in subscriptions; empty is Tag.
const (
	TagExpression = "TAG"   // tags joined by ||
	SQLExpression = "SQL92" // a condition on properties
)

// IsTag reports whether the expression type is that of tags.
func IsTag(kind string) bool { return kind == "" || kind == TagExpression }

// CodeSet holds hashes of tags. Java writes numbers, the stock Go client
// strings; both are read, numbers written.
type CodeSet []int32

func (s CodeSet) MarshalJSON() ([]byte, error) {
	b := []byte{'['}
	for i, n := range s {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return append(b, ']'), nil
}

func (s *CodeSet) UnmarshalJSON(b []byte) error {
	var words []json.RawMessage
	if err := json.Unmarshal(b, &words); err != nil {
		return err
	}
	*s = make(CodeSet, 0, len(words))
	for _, w := range words {
		text := string(w)
		if len(w) > 1 && w[0] == '"' {
			text = text[1 : len(text)-1]
		}
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return fmt.Errorf("codeSet: %w", err)
		}
		*s = append(*s, int32(n))
	}
	return nil
}

func (h *HeartbeatData) decodeBody(b []byte) error {
	*h = HeartbeatData{}
	if err := json.Unmarshal(b, h); err != nil {
		return err
	}
	if h.ClientID == "" {
		return fmt.Errorf("clientID is missing")
	}
	for _, c := range h.ConsumerDataSet {
		if c.GroupName == "" {
			return fmt.Errorf("a consumer without groupName")
		}
		for _, s := range c.SubscriptionDataSet {
			if s.Topic == "" {
				return fmt.Errorf("group %s: a subscription without topic", c.GroupName)
			}
		}
	}
	for _, p := range h.ProducerDataSet {
		if p.GroupName == "" {
			return fmt.Errorf("a producer without groupName")
		}
	}
	return nil
}
