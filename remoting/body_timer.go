package remoting

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
}

// What DeadLetters is to do.
const (
	ListLetters    = "list"
	RedriveLetters = "redrive"
	PurgeLetters   = "purge"
)

// DeadLettersHeader is the header of DeadLetters.
type DeadLettersHeader struct {
	Group  string
	Op     string
	Slot   int32 // with Queue; -1: all
	Queue  int32
	Offset int64 // one; -1: all
	Max    int32 // at most; 0: 1000
}

func (h *DeadLettersHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	*h = DeadLettersHeader{Group: f.must("group"), Op: f.must("op"), Slot: int32(f.int("slot", false, -1, -1, 1<<15-1)),
		Queue: int32(f.int("queue", false, 0, 0, 1<<30)), Offset: f.int("offset", false, -1, -1, 1<<62), Max: int32(f.int("max", false, 0, 0, 1<<20))}
	switch h.Op {
	case ListLetters, RedriveLetters, PurgeLetters:
	default:
		f.failValue("op", "is not list, redrive or purge")
	}
	return f.err
}

func (h DeadLettersHeader) Encode() map[string]string {
	return map[string]string{"group": h.Group, "op": h.Op, "slot": i32(h.Slot), "queue": i32(h.Queue), "offset": i64(h.Offset), "max": i32(h.Max)}
}
