package raftlog

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"time"
)

// Every connection begins with a hello from the side that dialled and an answer to it. Little endian; the first 12 bytes are the
// same in every version, so that a version can always be refused by name.
//
//	offset  size  field
//	0       4     magic "rmqT"
//	4       1     protocol version of the sender
//	5       1     0
//	6       2     length of the body in bytes, at most 2048
//	8       4     CRC32C of the body
//	12      ...   body
//
//	hello body   cluster, node, class, target node (each length uvarint, bytes), incarnation, folder, level (uvarints)
//	answer body  reason (empty: accepted), cluster, node (texts), incarnation, folder, level (uvarints)
//
// The level is left out where it is 0.
const (
	helloMagic     = "rmqT"
	helloVersion   = 1
	helloHeadBytes = 12
	helloMaxBody   = 2048
)

// Connection classes of the transport itself. Any other name belongs to a Listener.
const (
	classControl  = "raft-control"
	classData     = "raft-data"
	classSnapshot = "raft-snapshot"
)

// ErrHello means that the other end answered the hello with a refusal, or that it is not who was dialled: nothing was sent to it.
var ErrHello = errors.New("raftlog: hello refused")

// netHello is who a connection is from, and who it is for.
type netHello struct {
	cluster, node, class, target string
	incarnation, folder, level   uint64
}

// helloAnswer is who answered.
type helloAnswer struct {
	reason, cluster, node      string
	incarnation, folder, level uint64
}

func (h netHello) peer() Peer { return Peer{h.node, h.incarnation, h.folder, h.level} }

func (a helloAnswer) peer() Peer { return Peer{a.node, a.incarnation, a.folder, a.level} }

// Peer is another node, by its hello. With TLS it has proved its name; the rest is its word.
type Peer struct {
	Node                string
	Incarnation, Folder uint64
	Level               uint64 // of the features that its program knows; 0: not said
}

func encodeHelloBody(version byte, body []byte) []byte {
	b := make([]byte, helloHeadBytes, helloHeadBytes+len(body))
	copy(b, helloMagic)
	b[4] = version
	binary.LittleEndian.PutUint16(b[6:], uint16(len(body)))
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(body, wireTable))
	return append(b, body...)
}

func (h netHello) encode() []byte {
	var b []byte
	for _, s := range []string{h.cluster, h.node, h.class, h.target} {
		b = appendText(b, s)
	}
	return encodeHelloBody(helloVersion, appendLife(b, h.incarnation, h.folder, h.level))
}

func (a helloAnswer) encode() []byte {
	var b []byte
	for _, s := range []string{a.reason, a.cluster, a.node} {
		b = appendText(b, s)
	}
	return encodeHelloBody(helloVersion, appendLife(b, a.incarnation, a.folder, a.level))
}

func appendLife(b []byte, incarnation, folder, level uint64) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(b, incarnation), folder)
	if level > 0 {
		b = binary.AppendUvarint(b, level)
	}
	return b
}

// life reads what appendLife wrote.
func (r *wireReader) life() (incarnation, folder, level uint64) {
	incarnation, folder = r.uint(), r.uint()
	if len(r.b) > 0 {
		level = r.uint()
	}
	return incarnation, folder, level
}

// readHelloBody reads one hello or answer. The body is nil for a version other than ours.
func readHelloBody(r io.Reader) (version byte, body []byte, err error) {
	var head [helloHeadBytes]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	if string(head[:4]) != helloMagic {
		return 0, nil, fmt.Errorf("%w: not this protocol", ErrHello)
	}
	n := binary.LittleEndian.Uint16(head[6:])
	if n > helloMaxBody {
		return 0, nil, fmt.Errorf("%w: body of %d bytes", ErrHello, n)
	}
	body = make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, err
	}
	if crc32.Checksum(body, wireTable) != binary.LittleEndian.Uint32(head[8:]) {
		return 0, nil, fmt.Errorf("%w: checksum", ErrHello)
	}
	if head[4] != helloVersion {
		return head[4], nil, nil
	}
	return head[4], body, nil
}

func decodeHello(body []byte) (h netHello, err error) {
	r := wireReader{b: body}
	h.cluster, h.node, h.class, h.target = r.text(wireMaxName), r.text(wireMaxName), r.text(wireMaxName), r.text(wireMaxName)
	h.incarnation, h.folder, h.level = r.life()
	return h, r.end()
}

func decodeHelloAnswer(body []byte) (a helloAnswer, err error) {
	r := wireReader{b: body}
	a.reason, a.cluster, a.node = r.text(wireMaxName), r.text(wireMaxName), r.text(wireMaxName)
	a.incarnation, a.folder, a.level = r.life()
	return a, r.end()
}

// admit judges a hello by somebody who has proved to be that node; "" accepts it.
func (t *Transport) admit(h netHello) string {
	switch {
	case h.cluster != t.cluster:
		return fmt.Sprintf("this is cluster %q, not %q", t.cluster, h.cluster)
	case h.target != t.node:
		return fmt.Sprintf("this is node %q, not %q", t.node, h.target)
	case h.node == "":
		return "no node named"
	case !t.serves(h.class):
		return fmt.Sprintf("nothing listens for %q", h.class)
	}
	if err := t.knows(h.class, h.peer()); err != nil {
		return err.Error()
	}
	return ""
}

func (t *Transport) knows(class string, p Peer) error {
	if t.cfg.Known == nil || class == t.cfg.Unjudged {
		return nil
	}
	return t.cfg.Known(p)
}

func (t *Transport) answered(said netHello, a helloAnswer) {
	if t.cfg.Answered != nil && said.class != t.cfg.Unjudged {
		t.cfg.Answered(a.peer(), said.incarnation, a.reason)
	}
}

// greet is the accepting side of the hello: TLS first, if any. The connection is closed unless err is nil.
func (t *Transport) greet(raw net.Conn) (conn net.Conn, h netHello, err error) {
	conn = raw
	defer func() {
		if err != nil {
			raw.Close()
		}
	}()
	raw.SetDeadline(time.Now().Add(helloTimeout))
	if t.serveTLS != nil {
		conn = tls.Server(raw, t.serveTLS)
	}
	version, body, err := readHelloBody(conn)
	if err != nil {
		return conn, h, err
	}
	answer := helloAnswer{cluster: t.cluster, node: t.node, incarnation: t.incarnation.Load(), folder: t.cfg.Folder, level: t.cfg.Level}
	if body == nil {
		answer.reason = fmt.Sprintf("protocol version %d, this node speaks %d", version, helloVersion)
	} else if h, err = decodeHello(body); err != nil {
		return conn, h, err
	} else if answer.reason = t.certified(conn, h.node); answer.reason == "" {
		answer.reason = t.admit(h)
	}
	answer.reason = shortText(answer.reason)
	if _, err := conn.Write(answer.encode()); err != nil {
		return conn, h, err
	}
	if answer.reason != "" {
		t.stats.refused.Add(1)
		return conn, h, fmt.Errorf("%w: %s", ErrHello, answer.reason)
	}
	raw.SetDeadline(time.Time{})
	return conn, h, nil
}

// certified says why the certificate of an accepted connection does not name the node that the hello claims; "" if it does, or
// if certificates carry one name for all.
func (t *Transport) certified(conn net.Conn, node string) string {
	c, ok := conn.(*tls.Conn)
	if !ok {
		return ""
	}
	name := node
	if t.dialTLS.ServerName != "" {
		name = t.dialTLS.ServerName
	}
	certs := c.ConnectionState().PeerCertificates
	if len(certs) == 0 {
		return "no certificate"
	}
	if err := certs[0].VerifyHostname(name); err != nil {
		return err.Error()
	}
	return ""
}

// introduce dials a node and says the hello for a class. An error wrapping ErrHello is a refusal by whoever answered there.
func (t *Transport) introduce(done <-chan struct{}, dial func() (net.Conn, error), node, class string) (conn, raw net.Conn, answer helloAnswer, err error) {
	raw, err = dial()
	if err != nil {
		return nil, nil, answer, err
	}
	// Whoever waits may give up, and Close may come, while we wait for the answer.
	over := make(chan struct{})
	ended := make(chan struct{})
	dialled := raw // a return changes raw
	go func() {
		defer close(ended)
		select {
		case <-over:
		case <-done:
			dialled.Close()
		case <-t.done:
			dialled.Close()
		}
	}()
	defer func() { close(over); <-ended }()
	raw.SetDeadline(time.Now().Add(helloTimeout))
	conn = raw
	if t.dialTLS != nil {
		c := t.dialTLS.Clone()
		if c.ServerName == "" {
			c.ServerName = node
		}
		conn = tls.Client(raw, c)
	}
	answer, err = t.sayHello(conn, node, class)
	if err != nil {
		raw.Close()
		return nil, nil, answer, fmt.Errorf("hello to %s: %w", node, err)
	}
	raw.SetDeadline(time.Time{})
	return conn, raw, answer, nil
}

func (t *Transport) sayHello(conn net.Conn, node, class string) (a helloAnswer, err error) {
	h := netHello{cluster: t.cluster, node: t.node, incarnation: t.incarnation.Load(), folder: t.cfg.Folder, level: t.cfg.Level, class: class, target: node}
	if _, err := conn.Write(h.encode()); err != nil {
		return a, err
	}
	version, body, err := readHelloBody(conn)
	if err != nil {
		return a, err
	}
	if body == nil {
		return a, fmt.Errorf("%w: it speaks protocol version %d", ErrHello, version)
	}
	if a, err = decodeHelloAnswer(body); err != nil {
		return a, err
	}
	switch {
	case a.cluster != t.cluster || a.node != node:
		if a.reason != "" {
			return a, fmt.Errorf("%w: %s", ErrHello, a.reason)
		}
		return a, fmt.Errorf("%w: it is node %q of cluster %q", ErrHello, a.node, a.cluster)
	case a.reason != "":
		t.answered(h, a)
		return a, fmt.Errorf("%w: %s", ErrHello, a.reason)
	}
	if err := t.knows(class, a.peer()); err != nil {
		return a, fmt.Errorf("%w: %w", ErrHello, err)
	}
	t.answered(h, a)
	return a, nil
}
