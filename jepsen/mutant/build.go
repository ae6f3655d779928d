package mutant

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Mutate returns the text of m's file with the bug in it.
func (m Mutant) Mutate(text string) (string, error) {
	if n := strings.Count(text, m.Old); n != 1 {
		return "", fmt.Errorf("%s: %s has %d places for it, want 1", m.Name, m.File, n)
	}
	return strings.Replace(text, m.Old, m.New, 1), nil
}

// Build builds bin/raftmq-faults and bin/jepsen of the tree at source with the bug in them,
// into dir, which must exist. Imports that the bug needs are added.
func (m Mutant) Build(ctx context.Context, source, dir string) error {
	source, err := filepath.Abs(source)
	if err != nil {
		return err
	}
	original := filepath.Join(source, m.File)
	b, err := os.ReadFile(original)
	if err != nil {
		return err
	}
	text, err := m.Mutate(string(b))
	if err != nil {
		return err
	}
	text = withImports(text)
	changed := filepath.Join(dir, "mutated.go")
	if err := os.WriteFile(changed, []byte(text), 0o644); err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o644); err != nil {
		return err
	}
	for _, program := range []string{"raftmq", "jepsen"} {
		as, tags, linker := program, "simulation", "-checklinkname=0" // it can simulate
		if program == "raftmq" {
			as, tags, linker = "raftmq-faults", "faults", "" // its disk and clock can be broken
		}
		c := exec.CommandContext(ctx, "go", "build", "-tags", tags, "-ldflags", linker, "-overlay", file, "-o", filepath.Join(dir, as), "./cmd/"+program)
		c.Dir = source
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s with %s: %w: %s", program, m.Name, err, out)
		}
	}
	return nil
}

// imports are those that bugs use and their files may not import, by what they are known by.
var imports = [][2]string{{"time.Now()", "time"}, {"sync.Map", "sync"}, {"atomic.Int32", "sync/atomic"}}

// withImports adds what a bug uses and its file does not import.
func withImports(text string) string {
	for _, x := range imports {
		if line := "\t\"" + x[1] + "\"\n"; strings.Contains(text, x[0]) && !strings.Contains(text, line) {
			text = strings.Replace(text, "import (\n", "import (\n"+line, 1)
		}
	}
	return text
}
