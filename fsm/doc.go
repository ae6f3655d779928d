// Package fsm is the deterministic meaning of a partition's log and of the
// catalogue's.
//
// A command is one byte kind, one byte version, and fields. The meaning of a
// released (kind, version) never changes; an unknown one stops the replica. The
// machines see no clock, no random number, no map order and no batch boundary:
// time comes in the command, T = max(T, at), so it never goes back.
//
//	kind  partition             kind  catalogue (fields as JSON)
//	   1  append                  64  bootstrap
//	   2  commit offsets          65  create topic
//	   3  reset offset            66  update topic
//	   4  reset was told          67  delete topic
//	   5  lock queues             68  put group
//	   6  unlock queues           69  delete group
//	   7  trim                    70  subscribe
//	   8  digest                  71  put value, 72 delete value
//	                              73  put node, 74 put slot, 75 feature level
//
// An append, big-endian, after kind and version: at int64; items uint32; each:
// flags uint8 (1 has a producer, 2 ordered); with a producer id [16]byte, epoch
// uint32, sequence uint64; records uint32; bytes uint32; the records. Other
// partition commands use uvarint lengths before strings.
//
// Refusals that every replica reaches alike are results. A local fault is an error
// of Apply and stops the replica.
package fsm
