package remoting

// Transaction is a transactional message: pending, or decided not long ago.
type Transaction struct {
	Topic       string `json:"topic"`
	Slot        int    `json:"slot"`
	Offset      int64  `json:"offset"` // physical, of the half: with the slot its name
	StateOffset int64  `json:"stateOffset"`
	State       string `json:"state"` // pending, parked, committed or rolled back
	Group       string `json:"group,omitempty"`
	Born        int64  `json:"born,omitempty"`      // stored, Unix ms; of a pending one
	NextCheck   int64  `json:"nextCheck,omitempty"` // Unix ms; of a pending one
	Checks      int    `json:"checks,omitempty"`    // made
	Bytes       int    `json:"bytes,omitempty"`     // of the record
	DecidedBy   string `json:"decidedBy,omitempty"` // producer, check or operator
	DecidedAt   int64  `json:"decidedAt,omitempty"` // Unix ms
	QueueID     int32  `json:"queueId"`             // of the message that was committed, -1: none was
	QueueOffset int64  `json:"queueOffset"`
	MsgID       string `json:"msgId,omitempty"` // unique key; only where one is shown
	CommittedID string `json:"committedId,omitempty"`
	Record      []byte `json:"record,omitempty"` // as it was sent; only where a pending one is shown
}

// TransactionList is the answer to ListTransactions.
type TransactionList struct {
	Transactions []Transaction `json:"transactions"`
	Pending      int           `json:"pending"` // in all, parked included
	Parked       int           `json:"parked"`
	Bytes        int64         `json:"bytes"` // of their records
}
