package message

import "strings"

// Region is the only one that there is.
const Region = "DefaultRegion"

const traceable = PropRegion + "\x01" + Region + "\x02" + PropTraceOn + "\x01true\x02"

// Traceable returns the properties of a message as RocketMQ stores them, with where it is
// and that it may be traced: Java's consumers drop their traces of messages that do not say
// where they are.
func Traceable(props string) string {
	if strings.Contains(props, PropRegion) || strings.Contains(props, PropTraceOn) {
		props = without(props, PropRegion, PropTraceOn)
	}
	if n := len(props); n > 0 && props[n-1] != valueEnd {
		props += "\x02"
	}
	return props + traceable
}

// WithoutHalf returns the properties of a message that is no transaction any more.
func WithoutHalf(props string) string { return without(props, PropTransaction) }

func without(props string, names ...string) string {
	out := make([]byte, 0, len(props))
	for k, v := range Properties(props) {
		keep := true
		for _, name := range names {
			keep = keep && k != name
		}
		if keep {
			out = AppendProperty(out, k, v)
		}
	}
	return string(out)
}
