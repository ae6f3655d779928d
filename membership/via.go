package membership

import (
	"net"
	"time"

	"github.com/hashicorp/memberlist"
)

// via is memberlist's transport with other ways out.
type via struct {
	*memberlist.NetTransport
	to func(addr string) string
}

func (v via) WriteTo(b []byte, addr string) (time.Time, error) {
	return v.NetTransport.WriteTo(b, v.to(addr))
}

func (v via) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return v.NetTransport.DialTimeout(v.to(addr), timeout)
}

func (v via) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return v.WriteTo(b, a.Addr)
}

func (v via) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return v.DialTimeout(a.Addr, timeout)
}

// openVia gives mc a transport that goes to another address than it is told.
func openVia(mc *memberlist.Config, to func(addr string) string) error {
	nt, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{mc.BindAddr}, BindPort: mc.BindPort, Logger: mc.Logger})
	if err != nil {
		return err
	}
	if mc.BindPort == 0 {
		mc.BindPort = nt.GetAutoBindPort()
		mc.AdvertisePort = mc.BindPort
	}
	mc.Transport = via{nt, to}
	return nil
}
