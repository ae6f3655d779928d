package client

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
)

// Strategy is how the members of a group share the queues of a topic. All members of a group
// must use the same; stock members count as using Average. The zero Strategy is Average.
type Strategy struct {
	name  string
	share func(topic string, queues []queueKey, members []string, self string) []queueKey
	table map[string][]int // of ByConfig
}

// Average gives each member a run of neighbouring queues, as stock clients do by default:
// no member has two more than another. Who joins or leaves moves about half of all queues.
func Average() Strategy { return Strategy{} }

// Circle deals the queues out one by one: no member has two more than another, and
// neighbours, such as those of one partition, are spread over the members.
func Circle() Strategy { return Strategy{name: "circle", share: circle} }

// ConsistentHash leaves queues where they are as far as can be: who joins takes few more than
// its share, and who leaves moves few more than its own. A member may have a quarter more
// than the average, rounded up.
func ConsistentHash() Strategy { return Strategy{name: "consistent-hash", share: consistentHash} }

// ByConfig gives this member the queues of the table, by topic, by their numbers as in Delivery.Queue, whoever else
// there is in the group; topics that are not in it are shared as by Average. All members' tables together must name
// each queue once: one that no member names nobody consumes, and one that two name both do, but for WithOrder,
// where one of them has its lock at a time. A number that the topic does not have, yet, counts when it does.
func ByConfig(table map[string][]int) Strategy {
	own := make(map[string][]int, len(table))
	for topic, queues := range table {
		own[topic] = slices.Clone(queues)
	}
	return Strategy{name: "config", table: own}
}

// ParseStrategy reads a strategy's name: average, circle or consistent-hash.
func ParseStrategy(name string) (Strategy, error) {
	for _, s := range []Strategy{Average(), Circle(), ConsistentHash()} {
		if s.String() == name {
			return s, nil
		}
	}
	return Strategy{}, fmt.Errorf("%w: strategy %q: it is average, circle or consistent-hash", ErrInvalid, name)
}

// String is the strategy's name.
func (s Strategy) String() string {
	return cmp.Or(s.name, "average")
}

// of is what a member owns of a topic's queues, which have numbers; queues and members are sorted. A stranger owns nothing.
func (s Strategy) of(topic string, queues []queueKey, numbers map[queueKey]int, members []string, self string) (own []queueKey) {
	if mine, ok := s.table[topic]; ok {
		for _, q := range queues {
			if slices.Contains(mine, numbers[q]) && slices.Contains(members, self) {
				own = append(own, q)
			}
		}
		return own
	}
	if s.share == nil {
		return average(queues, members, self)
	}
	return s.share(topic, queues, members, self)
}

// average is the share of a member as stock clients reckon it: members and
// queues sorted, each gets a run of neighbours, the first ones one more when
// it does not divide.
func average(queues []queueKey, members []string, self string) []queueKey {
	i := slices.Index(members, self)
	if i < 0 {
		return nil
	}
	n, over := len(queues)/len(members), len(queues)%len(members)
	from := i*n + min(i, over)
	if i < over {
		n++
	}
	return queues[from : from+n]
}

func circle(_ string, queues []queueKey, members []string, self string) (own []queueKey) {
	i := slices.Index(members, self)
	for ; i >= 0 && i < len(queues); i += len(members) {
		own = append(own, queues[i])
	}
	return own
}

// consistentHash gives each queue to the member that weighs most for it, by a hash of both,
// of those that have room. A weight depends on nobody else: so a queue only moves when its
// member is gone, a heavier one has come, or room has changed.
func consistentHash(topic string, queues []queueKey, members []string, self string) (own []queueKey) {
	if len(members) == 0 {
		return nil
	}
	most := (len(queues)*5 + len(members)*4 - 1) / (len(members) * 4)
	has := make(map[string]int, len(members))
	for _, q := range queues {
		best, heaviest := "", uint64(0)
		for _, m := range members {
			if has[m] == most {
				continue
			}
			if w := weight(topic, q, m); best == "" || w > heaviest {
				best, heaviest = m, w
			}
		}
		if has[best]++; best == self {
			own = append(own, q)
		}
	}
	return own
}

// weight is the same for every member of every version.
func weight(topic string, q queueKey, member string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(strings.Join([]string{topic, q.broker, fmt.Sprint(q.id), member}, "\x00")))
	x := h.Sum64() // of texts that differ in the last characters only the low bits do
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
