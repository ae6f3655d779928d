package remoting

import (
	"encoding/json"
	"fmt"
)

// TopicConfigs is the body of UpdateAndCreateTopics.
type TopicConfigs struct {
	TopicConfigList list[TopicConfig] `json:"topicConfigList"`
}

// GroupConfigs is the body of UpdateSubscriptionGroups. What a group does not name keeps the defaults.
type GroupConfigs struct {
	GroupConfigList list[json.RawMessage] `json:"groupConfigList"`
}

// maxListed bounds how many topics or groups one request is about.
const maxListed = 256

func (l *TopicConfigs) decodeBody(b []byte) error {
	*l = TopicConfigs{}
	if err := json.Unmarshal(b, l); err != nil {
		return err
	}
	if n := len(l.TopicConfigList); n > maxListed {
		return fmt.Errorf("%d topics, at most %d", n, maxListed)
	}
	for _, t := range l.TopicConfigList {
		if t.TopicName == "" {
			return fmt.Errorf("a topic without topicName")
		}
	}
	return nil
}

func (l *GroupConfigs) decodeBody(b []byte) error {
	*l = GroupConfigs{}
	if err := json.Unmarshal(b, l); err != nil {
		return err
	}
	if n := len(l.GroupConfigList); n > maxListed {
		return fmt.Errorf("%d groups, at most %d", n, maxListed)
	}
	return nil
}
