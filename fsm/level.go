package fsm

// Level is the highest feature level that this program knows. A command of a higher level
// is proposed only when the catalogue says that every node has come to that level, so that
// none finds in its log what it cannot read:
//
//	level  commands
//	1      all but those below
//	2      19 put back
//
// What a level has is never taken away, and a cluster's level never falls.
const Level = PutBackLevel

const (
	firstLevel   = 1 // of programs that know none
	PutBackLevel = 2
)

// LevelOf is the level of a command, whole or not.
func LevelOf(cmd []byte) uint64 {
	if len(cmd) > 0 && kind(cmd[0]) == kindPutBack {
		return PutBackLevel
	}
	return firstLevel
}
