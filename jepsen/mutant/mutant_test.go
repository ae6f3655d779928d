package mutant

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A mutant whose place has gone tests nothing: whoever changes that place moves it.
func TestEachMutantHasItsPlace(t *testing.T) {
	names := make(map[string]bool)
	for _, m := range All {
		t.Run(m.Name, func(t *testing.T) {
			require.False(t, names[m.Name], "the name is taken")
			names[m.Name] = true
			require.NotEmpty(t, m.Bug)
			require.NotEmpty(t, m.Nemesis)
			require.NotEmpty(t, m.Property)
			require.Equal(t, m.Unknown, m.Says != "", "what is unknown is so for a reason")
			b, err := os.ReadFile(filepath.Join("..", "..", m.File))
			require.NoError(t, err)
			text, err := m.Mutate(string(b))
			require.NoError(t, err)
			require.NotEqual(t, string(b), text)
			_, err = parser.ParseFile(token.NewFileSet(), m.File, withImports(text), 0)
			require.NoError(t, err)
		})
	}
}

func TestAMutantNeedsExactlyOnePlace(t *testing.T) {
	m := Mutant{Name: "m", Old: "a", New: "b"}
	for _, text := range []string{"", "aa", "x"} {
		_, err := m.Mutate(text)
		require.Error(t, err)
	}
	got, err := m.Mutate("xax")
	require.NoError(t, err)
	require.Equal(t, "xbx", got)
}
