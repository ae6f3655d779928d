package run

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestABodySaysWhichSendItIsOf(t *testing.T) {
	for _, size := range []int{0, 20, 1000} {
		b := encode("17-482", size)
		require.GreaterOrEqual(t, len(b), size)
		require.Equal(t, "17-482", decode(b))
	}
	require.Len(t, encode("17-482", 1000), 1000)
}

func TestAChangedBodyIsNotThatOfASend(t *testing.T) {
	good := encode("17-482", 100)
	for i := range good {
		b := append([]byte(nil), good...)
		b[i] ^= 1
		require.True(t, strings.HasPrefix(decode(b), "!"), "byte %d", i)
	}
	for _, b := range [][]byte{nil, good[:len(good)-1], append(append([]byte(nil), good...), '.'), []byte("hello")} {
		require.True(t, strings.HasPrefix(decode(b), "!"), "%q", b)
	}
}
