package membership

import (
	"bytes"
	"io"
	"time"
)

// seldomEvery is how often it is told that an address cannot be resolved, which is called again each second.
const seldomEvery = time.Minute

// unresolved is how memberlist begins to say so.
const unresolved = "[WARN] memberlist: failed to resolve "

// seldom is where memberlist logs to, which writes one line after the other. That an address cannot be resolved is a warning once in
// a while, and in between a line at level debug.
type seldom struct {
	out  io.Writer
	told map[string]time.Time // by address: those of settings
}

func (s *seldom) Write(line []byte) (int, error) {
	what, is := bytes.CutPrefix(line, []byte(unresolved))
	if !is {
		return s.out.Write(line)
	}
	addr, _, _ := bytes.Cut(what, []byte(": "))
	if at, told := s.told[string(addr)]; !told || time.Since(at) >= seldomEvery {
		s.told[string(addr)] = time.Now()
		return s.out.Write(line)
	}
	if _, err := s.out.Write(append([]byte("[DEBUG]"), line[len("[WARN]"):]...)); err != nil {
		return 0, err
	}
	return len(line), nil
}
