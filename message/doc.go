// Package message holds the nouns of raftmq and the bytes of a message.
//
// A message's stored record is RocketMQ's own layout (version 1), the same on
// disk and on the wire, so that it is served to RocketMQ's clients without
// being encoded again. All integers are big-endian:
//
//	offset  size  field
//	     0     4  total size of the record, these four bytes included
//	     4     4  magic 0xDAA320A7
//	     8     4  CRC-32 (IEEE) of the body, masked to 31 bits
//	    12     4  queue id
//	    16     4  flag, the sender's
//	    20     8  queue offset                (stamped when applied)
//	    28     8  physical offset             (stamped when applied)
//	    36     4  system flag
//	    40     8  born time, Unix ms
//	    48     8  born host: IPv4, port as int32
//	    56     8  store time, Unix ms         (stamped when applied)
//	    64     8  store host: IPv4, port as int32
//	    72     4  reconsume times
//	    76     8  prepared transaction offset
//	    84   4+n  body length, body
//	         1+n  topic length, topic
//	         2+n  properties length, properties
//
// The package promises that no input, however broken, makes it panic or read
// outside the record. It knows nothing of disks, networks or Raft.
package message
