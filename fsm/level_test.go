package fsm

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/message"
)

// Whatever was added since the first level is of a later one, which this program knows.
func TestEveryCommandHasALevel(t *testing.T) {
	for k := kindAppend; k < kindEnd; k++ {
		level := LevelOf([]byte{byte(k), commandVersion})
		if k <= kindUnearth {
			require.EqualValues(t, firstLevel, level, "kind %d", k)
		} else {
			require.Greater(t, level, uint64(firstLevel), "kind %d", k)
		}
		require.LessOrEqual(t, level, uint64(Level), "kind %d", k)
	}
	require.EqualValues(t, firstLevel, LevelOf(nil))
	require.EqualValues(t, firstLevel, LevelOf(EncodeFeatureLevel(nil, 9)))
}

// A state that has what this program does not know is a later one's, not a damaged one.
func TestASectionOfALaterProgramIsNoDamage(t *testing.T) {
	r := newReplica(t)
	r.putsBack(1000, putsBack(t, message.Queue{Topic: "%RETRY%g"}, 1, 7, 5000))
	state, _ := r.Checkpoint()
	st, err := decodeState(state)
	require.NoError(t, err)
	at := stateHead + 8 + len(st.locks.encode(st.offsets.encode(st.dedup.encode(nil)))) + 1
	require.EqualValues(t, sectionPutBacks, state[at])
	state[at] = 200
	_, err = decodeState(sealed(state))
	require.ErrorIs(t, err, ErrStateVersion)
	require.NotErrorIs(t, err, ErrState)
}
