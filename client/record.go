package client

import (
	"fmt"
	"strings"
	"time"

	"raftmq/message"
)

// sysFlag of a compressed body: bit 0, and the codec in bits 8 to 10.
const (
	flagCompressed = 1
	codecShift     = 8
)

// decodeRecord is the first record of b as a delivery, and how long the record
// is. The body shares b's memory unless it was compressed.
func decodeRecord(b []byte, k *codecs) (*Delivery, int, error) {
	r, err := message.ParseRecord(b)
	if err != nil {
		return nil, 0, err
	}
	if err := r.Verify(); err != nil {
		return nil, 0, fmt.Errorf("%s offset %d: %w", r.Topic(), r.QueueOffset(), err)
	}
	m := r.Message()
	d := &Delivery{Message: Message{Topic: m.Topic, Body: m.Body}, Offset: int64(m.QueueOffset), QueueID: int(m.QueueID),
		Attempt: int(m.ReconsumeTimes) + 1, BornAt: time.UnixMilli(m.BornTimestamp), StoredAt: time.UnixMilli(m.StoreTimestamp), physical: m.PhysicalOffset}
	if m.BornHost.IsValid() && m.BornHost.Port() != 0 {
		d.BornHost = m.BornHost.String()
	}
	for name, v := range message.Properties(m.Properties) {
		switch name {
		case message.PropKeys:
			d.Keys = strings.Fields(v)
		case message.PropTags:
			d.Tag = v
		case message.PropUniqueKey:
			d.ID = v
		case propOrderKey, propOrderGo:
			d.OrderKey = v
		default:
			if d.Properties == nil {
				d.Properties = make(map[string]string)
			}
			d.Properties[name] = v
		}
	}
	if d.ID == "" {
		d.ID = message.OffsetID(m.StoreHost, m.PhysicalOffset)
	}
	if m.SysFlag&flagCompressed != 0 {
		if d.Body, err = k.decompress(Codec(m.SysFlag>>codecShift&7), m.Body); err != nil {
			d.Body, d.BodyErr = m.Body, fmt.Errorf("decompress body: %w", err)
		}
	}
	return d, len(r), nil
}

// decodeRecords decodes a pull's body. A record that cannot be read ends it:
// what came before is returned with the error.
func decodeRecords(b []byte, k *codecs) (out []*Delivery, err error) {
	for len(b) > 0 {
		d, n, err := decodeRecord(b, k)
		if err != nil {
			return out, err
		}
		out = append(out, d)
		b = b[n:]
	}
	return out, nil
}
