package raftmq

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// mayImport is who may know whom; see ARCHITECTURE.md. Tests may import more.
var mayImport = map[string][]string{
	"message":              {},
	".":                    {},
	"internal/netcut":      {},
	"internal/ports":       {},
	"internal/vfs":         {},
	"internal/vfs/vfstest": {"internal/vfs"},
	"internal/vfs/faultfs": {"internal/vfs"},
	"internal/faults":      {"internal/vfs/faultfs"},
	"store":                {"message", "internal/vfs"},
	"filter":               {"message"},
	"fsm":                  {"message", "store"},
	"raftlog":              {"internal/vfs"},
	"membership":           {"internal/vfs"},
	"remoting":             {"message"},
	"broker":               {"message", "filter", "internal/vfs", "store", "fsm", "raftlog", "membership", "remoting"},
	"client":               {"filter", "message", "remoting"},
	"client/once":          {"client"},
	"jepsen/history":       {},
	"jepsen/check":         {"jepsen/history"},
	"jepsen/report":        {"jepsen/history", "jepsen/check"},
	"jepsen/link":          {},
	"jepsen/proxy":         {"jepsen/cluster", "jepsen/link"},
	"jepsen/netns":         {"jepsen/cluster", "jepsen/link"},
	"jepsen/cluster":       {"internal/faults", "internal/ports", "internal/vfs/faultfs", "jepsen/vclock"},
	"jepsen/vclock":        {},
	"jepsen/mutant":        {},
	"jepsen/run":           {"client", "message", "remoting", "internal/faults", "internal/vfs/faultfs", "jepsen/history", "jepsen/cluster", "jepsen/link", "jepsen/netns", "jepsen/proxy", "jepsen/vclock"},
	"jepsen/sim":           {"broker", "raftlog", "internal/faults", "internal/vfs", "internal/vfs/faultfs", "jepsen/cluster", "jepsen/history", "jepsen/link", "jepsen/run"},
	"cmd/jepsen":           {"jepsen/history", "jepsen/check", "jepsen/report", "jepsen/mutant", "jepsen/run", "jepsen/sim"},
	"internal/features":    {}, // tests only
	"internal/mqtest":      {"broker", "client", "internal/netcut", "internal/vfs", "message", "remoting"},
	"examples/payment":     {"client"},
	"examples/signup":      {"client"},
	"examples/logs":        {"client"},
	"examples/flashsale":   {"client"},
	"cmd/raftmq":           {"broker", "client", "filter", "raftlog", "internal/faults", "internal/ports", "internal/vfs"}, // raftlog for bench engine
}

func TestPackagesImportDownwardOnly(t *testing.T) {
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != "." {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
				return fs.SkipDir // a module of its own
			}
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		allowed, known := mayImport[dir]
		require.True(t, known, "%s: a package without a place in mayImport", dir)
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, i := range f.Imports {
			name, _ := strconv.Unquote(i.Path.Value)
			if ours, ok := strings.CutPrefix(name, "raftmq/"); ok {
				require.True(t, slices.Contains(allowed, ours), "%s imports %s", path, name)
			}
		}
		return nil
	}))
}
