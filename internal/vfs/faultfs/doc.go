// Package faultfs is the machine's disk with faults: operations fail, hang or find no
// room by rules, and a second program can cut the power: it rolls a data folder back to
// what was durable, with what was not lost whole or torn.
//
// For each file that is used through the layer a twin is kept, outside the folder, that
// has what is durable of it; for each directory the names that are. A sync copies what
// was written since the last one to the twin, WriteThrough what it has written itself. The process may be killed at any time: the
// folder then has what the kernel has, the twin what a disk would. No sync reaches the
// machine's own disk.
//
//	TWIN/i/INODE   the durable content of the folder's file with that inode
//	TWIN/n/PATH    a durable name: a hard link to the content
//	TWIN/l/INODE   pages that a failed sync has lost, JSON: page to its bytes' hash
//
// Files that are not used through the layer are left as the kernel has them: that is one
// of the things that a power cut may leave. A directory is durable with the first name in
// it that is.
//
// A sync that is told to fail does what Linux does: the pages count as clean, a later
// sync succeeds without them, reads still show them, and a power cut loses them, unless
// they were written again.
package faultfs
