// Package client sends to and consumes from a raftmq cluster.
//
// Dial gives a Client: shared connections, routes and one identity, from which
// producers, consumers, readers and the admin hang off. Nothing runs before
// Dial, and nothing runs after Close.
//
// A send has three outcomes. A Receipt: the message is on the disks of a
// majority, once. ErrUncertain: it may be stored. Any other error: it is
// certainly not stored, and sending it again cannot double it. Sends are
// idempotent: a message keeps its queue and its sequence in it while it may be
// stored, so that resending it through whatever node answers stores it once.
//
// A consumer delivers at least once: a message is delivered again when the
// handler failed, or when its queue moved before its offset was committed.
//
// A TransactionProducer's messages are delivered if, and only if, a local
// transaction says so. What it did not say, because its program died or an answer was
// lost, the cluster asks the producers of its group.
//
// A topic's queues are numbered from 0, by queue id and then by broker name, so
// that neighbours lie in different partitions and raising the queue count of a
// topic only adds numbers.
package client
