package broker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	"raftmq/internal/vfs"
)

// ErrFolderDamaged: a small file of the data folder, which the text names, is not what
// was written. Nothing was changed.
var ErrFolderDamaged = errors.New("broker: a file of the data folder is damaged")

// Small files are a JSON object with a version, and end with a checksum: CRC-32C of
// all bytes before it, in hex. {"version":3,...,"crc32c":"0a1b2c3d"} and a line's end.
const sealKey = `,"crc32c":"`

// seal encodes doc, which must be an object with a member or more.
func seal(doc any) ([]byte, error) {
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	return appendSeal(b[:len(b)-1]), nil
}

func appendSeal(b []byte) []byte {
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	return fmt.Appendf(b, sealKey+"%08x\"}\n", sum)
}

// unseal decodes what seal made into doc. From version since on, and if there is a
// checksum at all, it must fit: else ErrFolderDamaged. A version above since is refused,
// as of a newer program.
func unseal(b []byte, since int, doc any) error {
	at := bytes.LastIndex(b, []byte(sealKey))
	if at >= 0 && !bytes.Equal(b, appendSeal(bytes.Clone(b[:at]))) {
		return fmt.Errorf("%w: its checksum does not fit", ErrFolderDamaged)
	}
	var v struct{ Version int }
	if err := errors.Join(json.Unmarshal(b, &v), json.Unmarshal(b, doc)); err != nil {
		return fmt.Errorf("%w: %w", ErrFolderDamaged, err)
	}
	if at < 0 && v.Version >= since {
		return fmt.Errorf("%w: it has no checksum", ErrFolderDamaged)
	}
	if v.Version > since {
		return fmt.Errorf("it has version %d, this program knows %d", v.Version, since)
	}
	return nil
}

// readSealed reads a file at the head of the data folder; fs.ErrNotExist without one.
func readSealed(disk vfs.FS, name string, max int64, since int, doc any) error {
	b, err := vfs.ReadFile(disk, name, max)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	err = unseal(b, since, doc)
	if errors.Is(err, ErrFolderDamaged) {
		return refusedFile(name, err)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// refusedFile is ErrFolderDamaged, as an operator is told of it.
func refusedFile(name string, err error) error {
	return fmt.Errorf("read %s: %w. Keep the data folder and the write-ahead log, and start the node on empty ones under its old name: it is replaced", name, err)
}

func writeSealed(disk vfs.FS, name string, doc any) error {
	b, err := seal(doc)
	if err != nil {
		return err
	}
	return vfs.WriteFile(disk, name, b)
}
