package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"
	"sort"

	"github.com/cespare/xxhash/v2"

	"raftmq/internal/vfs"
	"raftmq/message"
)

// Keys of a segment's records are kept as sorted runs, one after the other:
//
//	 0  4  magic "rqKX"          16  8  position through which the keys are here
//	 4  4  version 1             24  4  CRC-32C of the entries
//	 8  4  number of entries     28  4  CRC-32C of the above
//	12  4  zero                  32     entries: hash of topic and key (8), position (8)
const (
	keyMagic   = "rqKX"
	keyRunHead = 32
	keyEntry   = 16
	maxKeyRun  = 64 << 10 // entries in memory
)

type keyPlace struct {
	hash uint64
	pos  Position
}

type keyRun struct {
	at      int64 // of its first entry in the file
	count   int
	through Position
}

// keyFile is the index of one segment; guarded by Store.mu but for its file.
type keyFile struct {
	file vfs.File
	name string
	runs []keyRun
	size int64
	mem  []keyPlace
}

func keyHash(topic, key []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	d.Write(topic)
	d.Write([]byte{'#'})
	d.Write(key)
	return d.Sum64()
}

// add notes the keys of a record.
func (k *keyFile) add(r message.Record, pos Position) {
	topic, props := r.TopicBytes(), r.PropertyBytes()
	for len(props) > 0 {
		pair, rest, _ := bytes.Cut(props, []byte{0x02})
		props = rest
		name, value, _ := bytes.Cut(pair, []byte{0x01})
		switch string(name) {
		case message.PropUniqueKey:
			k.mem = append(k.mem, keyPlace{keyHash(topic, value), pos})
		case message.PropKeys:
			for len(value) > 0 {
				var word []byte
				word, value, _ = bytes.Cut(value, []byte{' '})
				if len(word) > 0 {
					k.mem = append(k.mem, keyPlace{keyHash(topic, word), pos})
				}
			}
		}
	}
}

// openKeys reads the runs that lie wholly below through; the rest is cut.
func openKeys(disk vfs.FS, name string, through Position) (*keyFile, error) {
	k := &keyFile{name: name}
	f, err := disk.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return nil, err
	}
	k.file = f
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	head := make([]byte, keyRunHead)
	for k.size+keyRunHead <= size {
		if _, err := f.ReadAt(head, k.size); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		be := binary.BigEndian
		if string(head[:4]) != keyMagic || be.Uint32(head[28:]) != crc32.Checksum(head[:28], castagnoli) {
			break
		}
		if v := be.Uint32(head[4:]); v != formatVersion {
			return nil, fmt.Errorf("%w: %s has format version %d, this program knows %d", ErrVersion, name, v, formatVersion)
		}
		run := keyRun{at: k.size + keyRunHead, count: int(be.Uint32(head[8:])), through: Position(be.Uint64(head[16:]))}
		end := run.at + int64(run.count)*keyEntry
		if run.through > through || end > size {
			break
		}
		k.runs = append(k.runs, run)
		k.size = end
	}
	return k, nil
}

// flush writes what is in memory as a run.
func (k *keyFile) flush(disk vfs.FS, mem []keyPlace, through Position) error {
	if k.file == nil {
		f, err := disk.Create(k.name)
		if err != nil {
			return err
		}
		k.file = f
	}
	sort.Slice(mem, func(i, j int) bool {
		return mem[i].hash < mem[j].hash || mem[i].hash == mem[j].hash && mem[i].pos < mem[j].pos
	})
	be := binary.BigEndian
	b := make([]byte, keyRunHead, keyRunHead+len(mem)*keyEntry)
	for _, p := range mem {
		b = be.AppendUint64(b, p.hash)
		b = be.AppendUint64(b, uint64(p.pos))
	}
	copy(b, keyMagic)
	be.PutUint32(b[4:], formatVersion)
	be.PutUint32(b[8:], uint32(len(mem)))
	be.PutUint64(b[16:], uint64(through))
	be.PutUint32(b[24:], crc32.Checksum(b[keyRunHead:], castagnoli))
	be.PutUint32(b[28:], crc32.Checksum(b[:28], castagnoli))
	if _, err := k.file.WriteAt(b, k.size); err != nil {
		return fmt.Errorf("write %s: %w", k.name, err)
	}
	return nil
}

// find returns the positions of a hash, newest first, from runs and mem.
func (k *keyFile) find(hash uint64, runs []keyRun, mem []keyPlace) ([]Position, error) {
	var all []Position
	for _, p := range mem {
		if p.hash == hash {
			all = append(all, p.pos)
		}
	}
	var b [keyEntry]byte
	for _, run := range runs {
		var err error
		at := func(i int) keyPlace {
			if _, e := k.file.ReadAt(b[:], run.at+int64(i)*keyEntry); e != nil && err == nil {
				err = e
			}
			return keyPlace{binary.BigEndian.Uint64(b[:]), Position(binary.BigEndian.Uint64(b[8:]))}
		}
		for i := sort.Search(run.count, func(i int) bool { return at(i).hash >= hash }); i < run.count; i++ {
			p := at(i)
			if p.hash != hash {
				break
			}
			all = append(all, p.pos)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: read %s: %w", ErrDamaged, k.name, err)
		}
	}
	slices.Sort(all)
	slices.Reverse(all)
	return slices.Compact(all), nil
}

func (k *keyFile) close() error {
	if k.file == nil {
		return nil
	}
	return k.file.Close()
}
