package vfs

// Way is how WriteThrough makes a file's bytes durable.
type Way int

const (
	NotWritten    Way = iota // nothing was yet
	WriteAndSync             // through the page cache, by a write and a sync
	DirectWrite              // past the page cache, by one call that keeps a processor of the scheduler while it waits
	DirectSubmits            // past the page cache, by the kernel alone while the goroutine is parked
)

func (w Way) String() string {
	return [...]string{"nothing written yet", "write and sync", "direct", "direct, submitted"}[w]
}

// WayOf is the way of the last WriteThrough of f, and why it was no better one: nil if
// there is none. Files that do not tell write and sync.
func WayOf(f File) (w Way, why error) {
	if f, ok := f.(interface{ way() (Way, error) }); ok {
		return f.way()
	}
	return WriteAndSync, nil
}
