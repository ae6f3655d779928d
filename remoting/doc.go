// Package remoting speaks RocketMQ's remoting protocol: frames, codes,
// headers, bodies, a server and a client connection. It knows nothing of what
// a request means.
//
// A frame, all integers big-endian:
//
//	offset  size  field
//	0       4     length of all that follows (4 + H + B)
//	4       1     serialisation of the header: 0 JSON, 1 binary
//	5       3     H, length of the header, unsigned
//	8       H     header
//	8+H     B     body
//
// A JSON header is an object: code, language (a name), version, opaque, flag,
// remark, extFields (strings to strings), serializeTypeCurrentRPC (ignored).
// A binary header:
//
//	offset  size  field
//	0       2     code, signed
//	2       1     language
//	3       2     version
//	5       4     opaque
//	9       4     flag: bit 0 reply, bit 1 one-way
//	13      4     R, length of the remark (0: none)
//	17      R     remark, UTF-8
//	17+R    4     E, length of the ext fields
//	21+R    E     fields: key length (2), key, value length (4), value
//
// A frame with another serialisation, a header longer than its frame or a
// length above the limit (16 MiB, a header 1 MiB) ends the connection: nothing
// after it can be trusted.
// Replies travel in the serialisation of their request.
//
// A Server starts a goroutine per connection to read, one to write and one
// per request being handled; a Conn has one to read and one to write.
package remoting
