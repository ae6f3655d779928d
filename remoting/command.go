package remoting

import "maps"

// Serialisations of a header.
const (
	JSON   byte = 0
	Binary byte = 1
)

// Flag bits of a command.
const (
	FlagReply  int32 = 1
	FlagOneway int32 = 2
)

// Command is a request or a reply. One that was read belongs to its reader,
// body included; its strings share the header's memory, so clone those that
// outlive the request. One given to Send, Call or a Handler's return must not
// be changed afterwards.
type Command struct {
	Code     Code
	Language byte
	Version  int32
	Opaque   int32 // names the request a reply answers
	Flag     int32
	Remark   string
	Ext      map[string]string // nil: none; a JSON header always writes the object
	Body     []byte
	Serial   byte // JSON or Binary
}

// Header is a typed header on its way out.
type Header interface{ Encode() map[string]string }

// NewRequest returns a JSON request; a nil header is an empty one.
func NewRequest(code Code, h Header) *Command {
	c := &Command{Code: code, Language: Go, Version: Version}
	if h != nil {
		c.Ext = h.Encode()
	}
	return c
}

// NewOneway returns a request that is not answered.
func NewOneway(code Code, h Header) *Command {
	c := NewRequest(code, h)
	c.Flag = FlagOneway
	return c
}

// Reply returns a reply to c in c's serialisation, without ext fields.
func (c *Command) Reply(code Code, remark string) *Command {
	return &Command{Code: code, Language: Java, Version: Version, Opaque: c.Opaque, Flag: FlagReply, Remark: remark, Serial: c.Serial}
}

// ReplyWith returns a reply with code OK, a header and a body, both may be nil.
func (c *Command) ReplyWith(h Header, body []byte) *Command {
	r := c.Reply(OK, "")
	if h != nil {
		r.Ext = h.Encode()
	}
	r.Body = body
	return r
}

// With sets ext fields and returns c.
func (c *Command) With(h Header) *Command {
	if c.Ext == nil {
		c.Ext = h.Encode()
	} else {
		maps.Copy(c.Ext, h.Encode())
	}
	return c
}

// SetExt sets one ext field.
func (c *Command) SetExt(key, value string) {
	if c.Ext == nil {
		c.Ext = make(map[string]string, 8)
	}
	c.Ext[key] = value
}

func (c *Command) IsReply() bool  { return c.Flag&FlagReply != 0 }
func (c *Command) IsOneway() bool { return c.Flag&FlagOneway != 0 }
