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
		Attempt: max(int(m.ReconsumeTimes), 0) + 1, BornAt: time.UnixMilli(m.BornTimestamp), StoredAt: time.UnixMilli(m.StoreTimestamp), physical: m.PhysicalOffset}
	if m.BornHost.IsValid() && m.BornHost.Port() != 0 {
		d.BornHost = m.BornHost.String()
	}
	d.setProperties(m.Properties)
	if d.ID == "" {
		d.ID = message.OffsetID(m.StoreHost, m.PhysicalOffset)
	}
	d.inflate(m.SysFlag, k)
	return d, len(r), nil
}

// setProperties takes a property string apart.
func (d *Delivery) setProperties(s string) {
	for name, v := range message.Properties(s) {
		switch name {
		case message.PropKeys:
			d.Keys = strings.Fields(v)
		case message.PropTags:
			d.Tag = v
		case message.PropUniqueKey:
			d.ID = v
		case propOrderKey, propOrderGo:
			d.OrderKey = v
		case message.PropRegion, message.PropTraceOn, message.PropTransaction: // the broker's
		default:
			if d.Properties == nil {
				d.Properties = make(map[string]string)
			}
			d.Properties[name] = v
		}
	}
}

// inflate decompresses the body, if its flags say that it is compressed.
func (d *Delivery) inflate(flags int32, k *codecs) {
	if flags&flagCompressed == 0 {
		return
	}
	body, err := k.decompress(Codec(flags>>codecShift&7), d.Body)
	if err != nil {
		d.BodyErr = fmt.Errorf("decompress body: %w", err)
		return
	}
	d.Body = body
}

// maxBodies bounds the bodies that are held of one pull: they may be compressed, and
// a MiB of those be gigabytes.
const maxBodies = 32 << 20

// decodeRecords decodes a pull's body until its bodies come to maxBodies, and returns what is left. A
// record that cannot be read ends it: what came before is returned with the error.
func decodeRecords(b []byte, k *codecs) (out []*Delivery, rest []byte, err error) {
	for bodies := 0; len(b) > 0 && bodies < maxBodies; {
		d, n, err := decodeRecord(b, k)
		if err != nil {
			return out, b, err
		}
		out = append(out, d)
		b = b[n:]
		bodies += len(d.Body)
	}
	return out, b, nil
}
