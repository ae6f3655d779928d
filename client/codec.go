package client

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Codec is how a body is compressed. The numbers are the wire's, but that 0
// on a compressed body is Zlib, from old clients.
type Codec int

const (
	NoCompression Codec = 0
	LZ4           Codec = 1
	Zstd          Codec = 2
	Zlib          Codec = 3
)

// maxInflated bounds what a body may grow to: compressed bodies of other
// clients may be longer than MaxBody once inflated, but not without end.
const maxInflated = 64 << 20

// codecs holds what is costly to make. Its zero value works, for any number of
// goroutines, and it starts none.
type codecs struct {
	once sync.Once
	zw   *zstd.Encoder
	zr   *zstd.Decoder
}

func (c *codecs) zstd() (*zstd.Encoder, *zstd.Decoder) {
	c.once.Do(func() {
		c.zw, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
		c.zr, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxInflated))
	})
	return c.zw, c.zr
}

func (k *codecs) compress(c Codec, body []byte) ([]byte, error) {
	var b bytes.Buffer
	var w io.WriteCloser
	switch c {
	case Zlib:
		w, _ = zlib.NewWriterLevel(&b, 5)
	case LZ4:
		w = lz4.NewWriter(&b)
	case Zstd:
		e, _ := k.zstd()
		return e.EncodeAll(body, nil), nil
	default:
		return nil, fmt.Errorf("%w: codec %d", ErrInvalid, c)
	}
	if _, err := w.Write(body); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func (k *codecs) decompress(c Codec, body []byte) ([]byte, error) {
	var r io.Reader
	switch c {
	case NoCompression, Zlib:
		z, err := zlib.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		r = z
	case LZ4:
		r = lz4.NewReader(bytes.NewReader(body))
	case Zstd:
		_, d := k.zstd()
		return d.DecodeAll(body, nil)
	default:
		return nil, fmt.Errorf("codec %d not known", c)
	}
	out, err := io.ReadAll(io.LimitReader(r, maxInflated+1))
	if err == nil && len(out) > maxInflated {
		err = fmt.Errorf("more than %d bytes inflated", maxInflated)
	}
	return out, err
}
