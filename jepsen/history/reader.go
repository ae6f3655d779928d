package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Load reads a history file.
func Load(name string) ([]Op, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	ops, err := Decode(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return ops, nil
}

// Decode reads a history. An unknown field, a type that is none, a line cut short
// and an index that is not the line's number are errors: a history of which a part
// is missing or not understood is not judged.
func Decode(r io.Reader) ([]Op, error) {
	in := bufio.NewReaderSize(r, 1<<20)
	var ops []Op
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return ops, nil
		}
		n := len(ops)
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("line %d: cut short", n+1)
		}
		if err != nil {
			return nil, err
		}
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		var op Op
		if err := d.Decode(&op); err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
		if op.Index != int64(n) {
			return nil, fmt.Errorf("line %d: index %d, want %d", n+1, op.Index, n)
		}
		switch op.Type {
		case Invoke, OK, Fail, Info:
		default:
			return nil, fmt.Errorf("line %d: type %q", n+1, op.Type)
		}
		ops = append(ops, op)
	}
}
