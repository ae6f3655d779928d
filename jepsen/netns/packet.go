package netns

import "encoding/binary"

// kind is what a frame carries.
type kind int

const (
	other kind = iota
	arp
	ipv4
)

const (
	ethernetHeader = 14
	tcpHeader      = 20
	protoTCP       = 6
	protoUDP       = 17
	flagSYN        = 0x02
	flagFIN        = 0x01
	flagRST        = 0x04
	flagACK        = 0x10
)

// packet is what is read of a frame.
type packet struct {
	kind     kind
	proto    byte
	ip       int    // length of the IP header
	src, dst uint16 // ports; 0: none
}

// parse reads a frame's headers. What is cut short or not IPv4 is other; a fragment
// that is not the first has no ports.
func parse(f []byte) (p packet) {
	if len(f) < ethernetHeader {
		return p
	}
	switch binary.BigEndian.Uint16(f[12:]) {
	case 0x0806:
		return packet{kind: arp}
	case 0x0800:
	default:
		return p
	}
	b := f[ethernetHeader:]
	if len(b) < 20 || b[0]>>4 != 4 {
		return p
	}
	p.ip = int(b[0]&15) * 4
	if p.ip < 20 || len(b) < p.ip {
		return packet{}
	}
	p.kind, p.proto = ipv4, b[9]
	if binary.BigEndian.Uint16(b[6:])&0x1fff == 0 && (p.proto == protoTCP || p.proto == protoUDP) && len(b) >= p.ip+4 {
		p.src, p.dst = binary.BigEndian.Uint16(b[p.ip:]), binary.BigEndian.Uint16(b[p.ip+2:])
	}
	return p
}

// resets are the frames that end the TCP connection of frame f: one back to who sent
// it, one on to whom it is for. Not ok: it is no TCP, or a reset itself.
func (p packet) resets(f []byte) (back, on []byte, ok bool) {
	if p.kind != ipv4 || p.proto != protoTCP || p.src == 0 {
		return nil, nil, false
	}
	total := int(binary.BigEndian.Uint16(f[ethernetHeader+2:]))
	t := f[ethernetHeader+p.ip:]
	if len(t) < tcpHeader || total < p.ip+tcpHeader || t[13]&flagRST != 0 {
		return nil, nil, false
	}
	seq, ack, flags := binary.BigEndian.Uint32(t[4:]), binary.BigEndian.Uint32(t[8:]), t[13]
	length := uint32(total - p.ip - int(t[12]>>4)*4)
	if flags&(flagSYN|flagFIN) != 0 {
		length++
	}
	// RFC 9293, 3.5.2: the reset has the number that is acknowledged, or acknowledges
	// what came if nothing was.
	if flags&flagACK != 0 {
		back = reset(f, p, true, ack, 0, flagRST)
	} else {
		back = reset(f, p, true, 0, seq+length, flagRST|flagACK)
	}
	return back, reset(f, p, false, seq, 0, flagRST), true
}

// reset is a frame without data, of the connection of f, the other way round or not.
func reset(f []byte, p packet, turned bool, seq, ack uint32, flags byte) []byte {
	r := make([]byte, ethernetHeader+20+tcpHeader)
	ip, t := r[ethernetHeader:ethernetHeader+20], r[ethernetHeader+20:]
	copy(r, f[:ethernetHeader])
	ip[0], ip[8], ip[9] = 0x45, 64, protoTCP
	binary.BigEndian.PutUint16(ip[2:], 20+tcpHeader)
	copy(ip[12:20], f[ethernetHeader+12:])
	src, dst := p.src, p.dst
	if turned {
		copy(r[0:6], f[6:12])
		copy(r[6:12], f[0:6])
		copy(ip[12:16], f[ethernetHeader+16:])
		copy(ip[16:20], f[ethernetHeader+12:])
		src, dst = dst, src
	}
	binary.BigEndian.PutUint16(ip[10:], checksum(0, ip))
	binary.BigEndian.PutUint16(t[0:], src)
	binary.BigEndian.PutUint16(t[2:], dst)
	binary.BigEndian.PutUint32(t[4:], seq)
	binary.BigEndian.PutUint32(t[8:], ack)
	t[12], t[13] = tcpHeader/4<<4, flags
	pseudo := uint32(protoTCP + tcpHeader)
	for i := 12; i < 20; i += 2 {
		pseudo += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(t[16:], checksum(pseudo, t))
	return r
}

// checksum is that of RFC 1071, over an even number of bytes.
func checksum(sum uint32, b []byte) uint16 {
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
