package history

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

// Writer appends to a history. Its methods may be called from any goroutine.
type Writer struct {
	begun time.Time

	mu    sync.Mutex
	file  *os.File
	next  int64
	sends int
	err   error // the first; nothing is written after it
}

// Create makes the file; it must not exist.
func Create(name string) (*Writer, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return &Writer{begun: time.Now(), file: f}, nil
}

// Add gives op its index and time and hands it to the operating system. An error
// is final and comes back from Close too: a history with a hole proves nothing.
func (w *Writer) Add(op Op) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	op.Index, op.Time = w.next, int64(time.Since(w.begun))
	b, err := json.Marshal(&op)
	if err == nil {
		_, err = w.file.Write(append(b, '\n'))
	}
	if err != nil {
		w.err = fmt.Errorf("write history: %w", err)
	}
	w.next++
	if op.F == Send && op.Type == Invoke {
		w.sends++
	}
	return w.err
}

// Sends is how many sends were begun.
func (w *Writer) Sends() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sends
}

// Close returns the first error of all that was added.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.file.Close(); w.err == nil && err != nil {
		w.err = fmt.Errorf("close history: %w", err)
	}
	return w.err
}
