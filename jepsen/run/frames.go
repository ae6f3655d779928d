package run

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"

	"raftmq/jepsen/cluster"
)

// frame is one of a node's write-ahead log, found by its own bytes: at a multiple of 8, the
// magic, the number of its segment at 8, its sequence at 16, the length of its records
// at 24, and those from 40 on.
type frame struct {
	file     string
	at, size int // of the records
	sequence uint64
}

const (
	frameMagic = "rmqF"
	frameHead  = 40
	walNumber  = 8 // where a segment's head has its number
)

// frames are those of a node, by their sequence. What is written meanwhile may be missing.
func frames(n *cluster.Node) (out []frame, err error) {
	files, err := filepath.Glob(filepath.Join(n.Data, "wal", "*.wal"))
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if len(b) < walHead {
			continue
		}
		segment := b[walNumber : walNumber+8]
		for at := walHead; at+frameHead < len(b); {
			size := int(binary.LittleEndian.Uint32(b[at+24:]))
			if string(b[at:at+4]) != frameMagic || !bytes.Equal(b[at+8:at+16], segment) || size > len(b)-at-frameHead {
				break // the rest is of an earlier life of the file
			}
			if size > 0 {
				out = append(out, frame{name, at + frameHead, size, binary.LittleEndian.Uint64(b[at+16:])})
			}
			at += frameHead + (size+7)/8*8
		}
	}
	slices.SortFunc(out, func(a, b frame) int { return cmp.Compare(a.sequence, b.sequence) })
	return out, nil
}
