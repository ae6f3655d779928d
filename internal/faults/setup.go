package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"raftmq/internal/vfs/faultfs"
)

// Variable is the environment variable that names the file with the Setup.
const Variable = "RAFTMQ_FAULTS"

// Setup is what a node is told when it starts.
type Setup struct {
	Socket string            `json:"socket"`         // where it takes orders
	Twin   string            `json:"twin,omitempty"` // where the disk layer keeps what is durable (see package faultfs); "": no layer
	Data   string            `json:"data,omitempty"` // the folder of which
	Via    map[string]string `json:"via,omitempty"`  // where other nodes' addresses are dialled in place of there
	// RetainEvery is how often it is looked for what is to be deleted; 0: as in a release.
	RetainEvery time.Duration `json:"retainEvery,omitempty"`
	// CheckpointBytes are of a partition's entries, from which on it makes a checkpoint; 0: as in
	// a release.
	CheckpointBytes int64 `json:"checkpointBytes,omitempty"`
}

// ReadSetup reads the file that the environment names; ok is false if it names none.
func ReadSetup() (s Setup, ok bool, err error) {
	file := os.Getenv(Variable)
	if file == "" {
		return s, false, nil
	}
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err == nil && s.Socket == "" {
		err = fmt.Errorf("no socket")
	}
	if err != nil {
		return s, false, fmt.Errorf("%s %s: %w", Variable, file, err)
	}
	return s, true, nil
}

// Order is what a node is to do. Whatever is nil stays as it is; an empty order asks.
type Order struct {
	Disk  *[]faultfs.Rule `json:"disk,omitempty"` // the rules in force from here on, in place of those before
	Clock *ClockOrder     `json:"clock,omitempty"`
}

// ClockOrder changes the node's wall clock.
type ClockOrder struct {
	Jump time.Duration `json:"jump"` // added at once
	Rate float64       `json:"rate"` // seconds that pass in a real one from here on; 0: 1
	Back bool          `json:"back"` // first back to the machine's own time
}

// Answer is what a node says, after it has done what it was told.
type Answer struct {
	Error string  `json:"error,omitempty"` // the order was not done
	Wall  int64   `json:"wall"`            // its clock, ns since 1970
	Real  int64   `json:"real"`            // the machine's at the same time, as the node sees it
	Runs  int64   `json:"runs"`            // ns that it runs, by its monotonic clock
	Hits  []int64 `json:"hits,omitempty"`  // of each disk rule that was in force before the order: how often it struck
}
