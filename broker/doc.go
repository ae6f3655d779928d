// Package broker is a node of raftmq: it keeps replicas of partitions, answers
// and forwards RocketMQ's requests, and takes part in the catalogue.
//
// Every node answers every request. A request names a queue by the port it came
// in on (one per slot), its topic and its queue id; what this node does not lead
// it forwards to the node that does, marked so that it is forwarded only once.
//
// # Goroutines
//
//	goroutine                        started by             ends when                   waited for by
//	one per listener                 Open                   Shutdown closes it          Shutdown
//	those of a remoting.Server       its Serve              its Shutdown                Shutdown
//	Raft's, one group each           raftlog.Host.Open      Replica.Close               partition.close
//	appender, one per partition      openPartition          partition.close             partition.close
//	committer, one per partition     openPartition          partition.close             partition.close
//	opening of partitions            watch of the catalogue they are open               the watch
//	watch of the catalogue           Open                   Shutdown                    Shutdown
//	dials of other nodes             forwarder.conn         after 1 s at the latest     forwarder.close
//	announcements                    Open                   Shutdown                    Shutdown
//	member lists                     Open                   Shutdown                    Shutdown
//	catching up, and its questions   Open                   Shutdown                    Shutdown
//	checkpoints                      Open                   Shutdown                    Shutdown
//	retention, removal of files      Open                   Shutdown                    Shutdown
//	checks of transactions           Open                   Shutdown                    Shutdown
//	appenders of transactions        their first use        partition.close             partition.close
//	watch of the disk                Open                   Shutdown                    Shutdown
//	clocks of the nodes              Open                   Shutdown                    Shutdown
//	watch of timers                  Open                   Shutdown                    Shutdown
//	firing, one per partition        watch of timers        nothing is due, or Shutdown Shutdown
//	balancing of leaders             Open                   Shutdown                    Shutdown
//	repairs of damaged replicas      Open                   Shutdown                    Shutdown
//	scrubber, digests                Open                   Shutdown                    Shutdown
//	samples of what is counted       Open                   Shutdown                    Shutdown
//	voters of replaced nodes         Open                   Shutdown                    Shutdown
//	entrance of a new node           Open                   it has begun, or Shutdown   Shutdown
//	answers to nodes to be replaced  Open                   the transport is closed     Shutdown
//
// Shutdown stops listening, answers held pulls, hands leaders over, leaves the
// gossip and closes replicas and logs, in this order.
package broker
