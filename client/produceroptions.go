package client

import (
	"hash/fnv"
	"sync/atomic"
	"time"
)

// RetryPolicy says how a send is tried again. All tries of a message lie
// within its send timeout.
type RetryPolicy struct {
	MaxAttempts    int           // tries in all; 0: as many as the time allows
	Initial, Max   time.Duration // wait after every node was tried, doubling; 0: 20 ms, 500 ms
	RetryUncertain bool          // try again what may be stored, under the same identity
}

// Selector chooses a queue: a number below queues, which are those that can be
// written.
type Selector func(m *Message, queues int) int

// ByOrderKey is the queue of the hash of the order key.
func ByOrderKey(m *Message, queues int) int {
	h := fnv.New32a()
	h.Write([]byte(m.OrderKey))
	return int(h.Sum32() % uint32(queues))
}

// RoundRobin returns a selector that takes each queue in turn, order keys or
// not. Other than without a selector, a message keeps its queue when that
// cannot be reached.
func RoundRobin() Selector {
	var n atomic.Uint32
	return func(_ *Message, queues int) int { return int((n.Add(1) - 1) % uint32(queues)) }
}

// ProducerOption changes a producer.
type ProducerOption func(*Producer)

// WithTopics makes NewProducer find the topics' routes, so that the first send
// need not.
func WithTopics(t ...string) ProducerOption { return func(p *Producer) { p.topics = t } }

// WithSendTimeout bounds a message's tries, all together; those of what goes in one request
// end with those of its earliest, up to a tenth sooner. Default: 10 s.
func WithSendTimeout(d time.Duration) ProducerOption { return func(p *Producer) { p.timeout = d } }

// WithRetries replaces the default policy: any number of tries, 20 ms to 500
// ms between rounds, what may be stored included.
func WithRetries(r RetryPolicy) ProducerOption { return func(p *Producer) { p.retry = r } }

// WithBuffer bounds messages and bytes on their way; a send waits for room.
// Default: 65536 messages, 64 MiB.
func WithBuffer(messages int, bytes int64) ProducerOption {
	return func(p *Producer) { p.buffer.maxMessages, p.buffer.maxBytes = messages, bytes }
}

// WithLinger waits that long for company before the first request of a queue
// that was idle. Default: 0, which still sends together what waited for the
// request before.
func WithLinger(d time.Duration) ProducerOption { return func(p *Producer) { p.linger = d } }

// WithCompression compresses bodies of at least minBytes. Stock Go consumers
// read Zlib only.
func WithCompression(c Codec, minBytes int) ProducerOption {
	return func(p *Producer) { p.codec, p.codecMin = c, minBytes }
}

// WithSelector chooses each message's queue. Default: ByOrderKey for messages
// with an order key, else each queue in turn, leaving out those that cannot be
// reached; what is sent while a request waits to leave joins that, up to 64 messages.
func WithSelector(s Selector) ProducerOption { return func(p *Producer) { p.selector = s } }

// WithLatencyTolerance leaves slow broker names alone for as long as the table
// says, where messages are free to go elsewhere. Default: off.
func WithLatencyTolerance(t LatencyTable) ProducerOption {
	return func(p *Producer) { p.tolerance.table = t }
}
