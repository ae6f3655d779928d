package filter

import (
	"strings"

	"raftmq/message"
)

// Tags is a subscription by tag. It is not changed by its use, which may be
// concurrent.
type Tags struct {
	names  map[string]struct{}
	hashes map[int32]struct{}
}

// IsAll reports whether a subscription by tag is to every message: "*" or the empty string.
func IsAll(text string) bool { return text == "" || text == "*" }

// ParseTags reads tags joined by ||; blanks around each do not count. Nil: every message.
func ParseTags(text string) *Tags {
	if IsAll(text) {
		return nil
	}
	t := &Tags{names: make(map[string]struct{}), hashes: make(map[int32]struct{})}
	for tag := range strings.SplitSeq(text, "||") {
		if tag = strings.TrimSpace(tag); tag != "" {
			t.names[tag] = struct{}{}
			t.hashes[message.TagHash(tag)] = struct{}{}
		}
	}
	return t
}

// MatchHash reports whether a tag with this message.TagHash may be wanted: other tags
// may have the same.
func (t *Tags) MatchHash(hash int32) bool {
	_, ok := t.hashes[hash]
	return ok
}

// Match reports whether the tag is wanted.
func (t *Tags) Match(tag []byte) bool {
	_, ok := t.names[string(tag)]
	return ok
}
