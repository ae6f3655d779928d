package mqtest

import (
	"flag"
	"os"
	"strconv"
	"testing"
)

// Most of these tests wait most of the time: several run at once.
func TestMain(m *testing.M) {
	flag.Parse()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "test.parallel" })
	if !set {
		flag.Set("test.parallel", strconv.Itoa(sideBySide))
	}
	os.Exit(m.Run())
}
