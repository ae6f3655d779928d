package client

import (
	"sync"
	"time"
)

// LatencyTable says for how long a broker name is left alone after a send that
// took so long. Rows are in rising order of Latency; the last one that is not
// above the send's counts.
type LatencyTable []LatencyRow

// LatencyRow is a step of a LatencyTable.
type LatencyRow struct{ Latency, Avoid time.Duration }

// RocketMQTable is the table of RocketMQ as it is.
func RocketMQTable() LatencyTable {
	return latencyTable([7]int{50, 100, 550, 1800, 3000, 5000, 15000}, [7]int{0, 0, 2000, 5000, 6000, 10000, 30000})
}

// ClassicTable is the older table that introductions to RocketMQ print.
func ClassicTable() LatencyTable {
	return latencyTable([7]int{50, 100, 550, 1000, 2000, 3000, 15000}, [7]int{0, 0, 30000, 60000, 120000, 180000, 600000})
}

func latencyTable(latency, avoid [7]int) LatencyTable {
	t := make(LatencyTable, len(latency))
	for i := range t {
		t[i] = LatencyRow{time.Duration(latency[i]) * time.Millisecond, time.Duration(avoid[i]) * time.Millisecond}
	}
	return t
}

// Avoid is how long a broker name is left alone after a send took that long.
func (t LatencyTable) Avoid(took time.Duration) time.Duration {
	for i := len(t) - 1; i >= 0; i-- {
		if took >= t[i].Latency {
			return t[i].Avoid
		}
	}
	return 0
}

// isolation is the latency a failed send counts as.
const isolation = 10 * time.Second

// tolerance remembers which broker names are slow. Without a table it is off.
type tolerance struct {
	table LatencyTable
	mu    sync.Mutex
	until map[string]time.Time
}

func (t *tolerance) report(broker string, took time.Duration) {
	if t.table == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.until == nil {
		t.until = make(map[string]time.Time)
	}
	if d := t.table.Avoid(took); d > 0 {
		t.until[broker] = time.Now().Add(d)
	} else {
		delete(t.until, broker)
	}
}

func (t *tolerance) available(broker string) bool {
	if t.table == nil {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return !time.Now().Before(t.until[broker])
}
