package main

import (
	"testing"

	"github.com/spf13/pflag"
)

// A configuration file is read or refused with where it is wrong.
func FuzzConfigurationFile(f *testing.F) {
	for _, s := range []string{"", "node: n1\ninitial-nodes: [n1, n2]\n", "node: {a: b}", "slots: x", "- a", "nod: n1", "a: &a [*a]", "node: n1\nnode: n2", "---\n---\n", "wal-segments: 1e99"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var s settings
		flags := pflag.NewFlagSet("server", pflag.ContinueOnError)
		s.flags(flags)
		from, err := readYAML(flags, "f", b)
		if err != nil {
			return
		}
		for name, v := range from {
			if flags.Lookup(name) == nil {
				t.Fatalf("unknown key %q was taken", name)
			}
			if flags.Set(name, v.value) != nil {
				return
			}
		}
		s.Config.Check()
	})
}
