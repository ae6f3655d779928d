package netns

import (
	"bytes"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"raftmq/jepsen/link"
)

// port is a host's on the switch.
type port struct {
	tap *os.File
	mac [6]byte
}

// Switch passes frames on.
type Switch struct {
	links *link.Net
	ports []port
	class atomic.Pointer[map[uint16]link.Class] // of TCP and UDP ports
	late  atomic.Int64
	wg    sync.WaitGroup
}

// maxLate bounds the frames that are late; more are lost.
const maxLate = 16 << 10

// largestFrame is more than a frame has.
const largestFrame = 16 << 10

// run passes on what comes until the devices are closed.
func (s *Switch) run() {
	for from := range s.ports {
		s.wg.Go(func() {
			buf := make([]byte, largestFrame)
			for {
				n, err := s.ports[from].tap.Read(buf)
				if err != nil {
					return
				}
				s.frame(from, buf[:n])
			}
		})
	}
}

var broadcast = []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// frame passes a frame on: to whom it is for, or to all.
func (s *Switch) frame(from int, f []byte) {
	p := parse(f)
	if p.kind == other {
		return
	}
	for to := range s.ports {
		if to == from || !bytes.Equal(f[:6], s.ports[to].mac[:]) && !bytes.Equal(f[:6], broadcast) {
			continue
		}
		if p.kind == arp {
			s.ports[to].tap.Write(f)
			continue
		}
		s.pass(from, to, p, f)
	}
}

func (s *Switch) pass(from, to int, p packet, f []byte) {
	class := s.classOf(p)
	fate := s.links.Link(from, to).Packet(class, len(f))
	if fate.Reset {
		if back, on, ok := p.resets(f); ok {
			s.ports[from].tap.Write(back)
			s.ports[to].tap.Write(on)
		}
		return
	}
	out := f
	if fate.Corrupt >= 0 && fate.Corrupt/8 >= ethernetHeader {
		out = append([]byte(nil), f...)
		out[fate.Corrupt/8] ^= 1 << (fate.Corrupt % 8)
	}
	for _, after := range fate.After {
		if after == 0 {
			s.ports[to].tap.Write(out)
			continue
		}
		if s.late.Add(1) > maxLate {
			s.late.Add(-1)
			continue
		}
		b := append([]byte(nil), out...)
		time.AfterFunc(after, func() { // ends by itself; a closed device takes nothing
			s.ports[to].tap.Write(b)
			s.late.Add(-1)
		})
	}
}

func (s *Switch) classOf(p packet) link.Class {
	m := s.class.Load()
	if m == nil {
		return ""
	}
	if c := (*m)[p.dst]; c != "" {
		return c
	}
	return (*m)[p.src]
}
