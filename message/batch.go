package message

import (
	"encoding/binary"
	"fmt"
)

// MaxBatch is the most messages that one client batch may hold: the answer names each by an
// offset id, and they must fit a header.
const MaxBatch = 30 << 10

// BatchMessage is one message inside the body of a batch send. It shares topic,
// queue, system flag and born data with the others of its batch.
type BatchMessage struct {
	Flag       int32
	Body       []byte
	Properties string
}

// AppendBatchMessage appends m in the layout of a batch body:
//
//	size int32, magic int32 = 0, CRC int32 = 0, flag int32,
//	body length int32, body, properties length int16, properties
func AppendBatchMessage(dst []byte, m BatchMessage) []byte {
	be := binary.BigEndian
	dst = be.AppendUint32(dst, uint32(batchOverhead+len(m.Body)+len(m.Properties)))
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	dst = be.AppendUint32(dst, uint32(m.Flag))
	dst = be.AppendUint32(dst, uint32(len(m.Body)))
	dst = append(dst, m.Body...)
	dst = be.AppendUint16(dst, uint16(len(m.Properties)))
	return append(dst, m.Properties...)
}

const batchOverhead = 4 + 4 + 4 + 4 + 4 + 2

// DecodeBatch splits the body of a batch send. Bodies alias b. An empty batch,
// one of more than MaxBatch messages, and any length that does not fit is
// ErrCorrupt.
func DecodeBatch(b []byte) ([]BatchMessage, error) {
	be := binary.BigEndian
	var ms []BatchMessage
	for at := 0; at < len(b); {
		rest := b[at:]
		if len(rest) < batchOverhead {
			return nil, fmt.Errorf("%w: batch message %d: %d bytes left", ErrCorrupt, len(ms), len(rest))
		}
		size, body := int64(be.Uint32(rest)), int64(be.Uint32(rest[16:]))
		if size > int64(len(rest)) || body+batchOverhead > size {
			return nil, fmt.Errorf("%w: batch message %d: size %d, body %d, %d bytes left", ErrCorrupt, len(ms), size, body, len(rest))
		}
		props := int64(be.Uint16(rest[20+body:]))
		if body+props+batchOverhead != size || props > MaxProperties {
			return nil, fmt.Errorf("%w: batch message %d: properties of %d bytes", ErrCorrupt, len(ms), props)
		}
		if len(ms) == MaxBatch {
			return nil, fmt.Errorf("%w: batch of more than %d messages", ErrCorrupt, MaxBatch)
		}
		ms = append(ms, BatchMessage{
			Flag:       int32(be.Uint32(rest[12:])),
			Body:       rest[20 : 20+body : 20+body],
			Properties: string(rest[22+body : size]),
		})
		at += int(size)
	}
	if len(ms) == 0 {
		return nil, fmt.Errorf("%w: empty batch", ErrCorrupt)
	}
	return ms, nil
}
