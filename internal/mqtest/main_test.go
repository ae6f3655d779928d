package mqtest

import (
	"flag"
	"os"
	"testing"
)

// Most of these tests wait most of the time: several run at once, on however few processors.
func TestMain(m *testing.M) {
	flag.Parse()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "test.parallel" })
	if !set {
		flag.Set("test.parallel", "4")
	}
	os.Exit(m.Run())
}
