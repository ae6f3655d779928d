package history

import (
	"hash/fnv"
	"math/rand/v2"
)

// Seed decides everything about a run that is not left to the machine.
type Seed uint64

// Stream is the seed's random numbers for one purpose. Streams of different names
// have nothing to do with each other: drawing more from one changes no other. Not
// safe for concurrent use.
func (s Seed) Stream(name string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(uint64(s), h.Sum64()))
}
