// Package proxy relays what the hosts of one machine's loopback send each other, as the
// rules of package link say. It needs no rights.
//
// A stream that is cut off is held, not broken: bytes that were sent arrive when the cut
// ends, as TCP would have it. What is lost of a stream costs time only; datagrams are
// lost, late, overtaken, doubled and damaged. Of a connection that is refused behind a
// relay, who called sees a connection that is reset.
package proxy
