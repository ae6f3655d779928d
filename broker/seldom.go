package broker

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// seldomEvery is how often the same is told of a node that does not answer.
const seldomEvery = 10 * time.Second

// ofPeers are what a replica's Raft says again and again of another node, which comes behind it, for as long as that does not
// answer.
var ofPeers = []string{
	"failed to heartbeat to", "failed to appendEntries to", "failed to pipeline appendEntries", "failed to start pipeline replication to",
	"failed to make requestVote RPC", "failed to contact",
}

// seldom is a log of all replicas' Raft. While a node is down each that leads says so about once a second: of all of them it is told once in
// a while, with how often it was said in between.
type seldom struct {
	hclog.Logger
	mu   sync.Mutex
	said map[string]saying // by what is said, and of whom
}

type saying struct {
	told  time.Time
	since int // times
}

func newSeldom(log hclog.Logger) *seldom { return &seldom{Logger: log, said: make(map[string]saying)} }

// Warn implements hclog.Logger.
func (s *seldom) Warn(msg string, args ...any) {
	if more, tell := s.says(msg, args); tell {
		s.Logger.Warn(msg, slices.Concat(args, more)...)
	}
}

// Error implements hclog.Logger.
func (s *seldom) Error(msg string, args ...any) {
	if more, tell := s.says(msg, args); tell {
		s.Logger.Error(msg, slices.Concat(args, more)...)
	}
}

// says notes that something is said, and reports whether it is to be told, and what with it.
func (s *seldom) says(msg string, args []any) (more []any, tell bool) {
	if len(args) < 2 || !slices.Contains(ofPeers, msg) {
		return nil, true
	}
	what := fmt.Sprint(msg, " ", args[1])
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.said[what]
	if time.Since(x.told) < seldomEvery {
		x.since++
		s.said[what] = x
		return nil, false
	}
	s.said[what] = saying{told: time.Now()}
	if x.since > 0 {
		more = []any{"said_since_then", x.since}
	}
	return more, true
}
