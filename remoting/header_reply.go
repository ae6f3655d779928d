package remoting

// PushReplyHeader is the header of PushReplyMessageToClient: a reply on its way to
// the client that asked. The client answers OK when it has it, ConsumerNotOnline when
// it waits no longer.
type PushReplyHeader struct {
	SendHeader            // as the reply was sent, in long names
	BornHost       string // who replied, host:port
	StoreHost      string // the node that hands it on
	StoreTimestamp int64  // unix ms
}

func (h *PushReplyHeader) Decode(ext map[string]string) error {
	f := fields{ext: ext}
	if err := h.SendHeader.Decode(ext); err != nil {
		return err
	}
	h.BornHost, h.StoreHost, h.StoreTimestamp = f.must("bornHost"), f.must("storeHost"), f.mustInt64("storeTimestamp")
	return f.err
}

func (h PushReplyHeader) Encode() map[string]string {
	m := h.SendHeader.EncodeV1()
	m["bornHost"], m["storeHost"], m["storeTimestamp"] = h.BornHost, h.StoreHost, i64(h.StoreTimestamp)
	return m
}
