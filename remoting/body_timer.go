package remoting

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Timer is a message that waits for its time.
type Timer struct {
	Name   string `json:"name"` // by which it is recalled
	Topic  string `json:"topic"`
	Slot   int    `json:"slot"`
	Queue  int32  `json:"queue"`
	Due    int64  `json:"due"` // Unix ms
	Bytes  int    `json:"bytes"`
	MsgID  string `json:"msgId"`
	Record []byte `json:"record,omitempty"` // only where one is shown
}

// TimerList is the answer to ListTimers.
type TimerList struct {
	Timers  []Timer `json:"timers"`
	Indexed int     `json:"indexed"` // in all, some that do not wait any more among them
}

// DeadLetter is one that was not taken out.
type DeadLetter struct {
	Slot   int    `json:"slot"`
	Queue  int32  `json:"queue"`
	Offset int64  `json:"offset"`
	Record []byte `json:"record"`
}

// DeadLetterList is the answer to DeadLetters.
type DeadLetterList struct {
	Letters []DeadLetter `json:"letters"`
	Done    int          `json:"done"` // that were taken out
	Gone    int          `json:"gone"` // that had been before
	// NoRoom is how many stay that were to come again: their properties have no room for their topic's name.
	NoRoom int          `json:"noRoom,omitempty"`
	Next   *LetterPlace `json:"next,omitempty"` // of a list: where it goes on; nil: nothing is left out
}

// LetterPlace is a place among a group's dead letters. They are in order of slots, in
// each of queues, in each of offsets.
type LetterPlace struct {
	Slot   int32 `json:"slot"`
	Queue  int32 `json:"queue"`
	Offset int64 `json:"offset"`
}

// Compare is below 0 if p is before q, and 0 if it is the same.
func (p LetterPlace) Compare(q LetterPlace) int {
	return cmp.Or(cmp.Compare(p.Slot, q.Slot), cmp.Compare(p.Queue, q.Queue), cmp.Compare(p.Offset, q.Offset))
}

// String is SLOT-QUEUE-OFFSET, the name of a dead letter that is there.
func (p LetterPlace) String() string { return fmt.Sprintf("%d-%d-%d", p.Slot, p.Queue, p.Offset) }

// ParseLetterPlace reads what String makes.
func ParseLetterPlace(s string) (p LetterPlace, err error) {
	ns := strings.Split(s, "-")
	if len(ns) != 3 {
		return p, errLetterPlace
	}
	slot, err1 := strconv.ParseUint(ns[0], 10, 15)
	queue, err2 := strconv.ParseUint(ns[1], 10, 30)
	offset, err3 := strconv.ParseUint(ns[2], 10, 62)
	if err1 != nil || err2 != nil || err3 != nil {
		return p, errLetterPlace
	}
	return LetterPlace{int32(slot), int32(queue), int64(offset)}, nil
}

var errLetterPlace = errors.New("is not a slot, a queue and an offset, like 0-1-17")

// What DeadLetters is to do.
const (
	ListLetters    = "list"
	RedriveLetters = "redrive"
	PurgeLetters   = "purge"
)

// MaxLetters is how many dead letters one request may be about.
const MaxLetters = 1 << 20

// DeadLettersHeader is the header of DeadLetters.
type DeadLettersHeader struct {
	Group  string
	Op     string
	Slot   int32 // with Queue; -1: all
	Queue  int32
	Offset int64       // one; -1: all
	Max    int32       // at most; 0: 1000
	From   LetterPlace // a list: what is before it is left out
}

func (h *DeadLettersHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = DeadLettersHeader{Group: f.must("group"), Op: f.must("op"), Slot: int32(f.int("slot", false, -1, -1, 1<<15-1)),
		Queue: int32(f.int("queue", false, 0, 0, 1<<30)), Offset: f.int("offset", false, -1, -1, 1<<62), Max: int32(f.int("max", false, 0, 0, MaxLetters))}
	switch h.Op {
	case ListLetters, RedriveLetters, PurgeLetters:
	default:
		f.failValue("op", "is not list, redrive or purge")
	}
	if from := f.text("from"); from != "" {
		var err error
		if h.From, err = ParseLetterPlace(from); err != nil {
			f.failValue("from", err.Error())
		} else if h.Op != ListLetters {
			f.failValue("from", "is for lists")
		}
	}
	return f.err
}

func (h DeadLettersHeader) Encode() map[string]string {
	ext := map[string]string{"group": h.Group, "op": h.Op, "slot": i32(h.Slot), "queue": i32(h.Queue), "offset": i64(h.Offset), "max": i32(h.Max)}
	if h.From != (LetterPlace{}) {
		ext["from"] = h.From.String()
	}
	return ext
}
