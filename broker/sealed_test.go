package broker

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever one byte of a small file becomes, it is not taken for what was written; nor
// is a file that was cut short. Files of the version before have no checksum and are read.
func TestNoByteOfASmallFileDecaysUnseen(t *testing.T) {
	whole, err := seal(identity{Version: identityVersion, Cluster: "c", Node: "n1", Incarnation: 1, Folder: 7, Member: true})
	require.NoError(t, err)
	var id identity
	require.NoError(t, unseal(whole, identityVersion, &id))
	require.EqualValues(t, 7, id.Folder)
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			require.ErrorIs(t, unseal(b, identityVersion, new(identity)), ErrFolderDamaged, "byte %d, bit %d: %s", i, bit, b)
		}
		require.ErrorIs(t, unseal(whole[:i], identityVersion, new(identity)), ErrFolderDamaged)
	}
	before := []byte(`{"version":2,"cluster":"c","node":"n1","incarnation":1,"folder":8,"member":true}`)
	require.NoError(t, unseal(before, identityVersion, &id))
	require.EqualValues(t, 8, id.Folder)
	require.ErrorContains(t, unseal(appendSeal([]byte(`{"version":4`)), identityVersion, &id), "version 4")
}
