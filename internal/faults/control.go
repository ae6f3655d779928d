package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"raftmq/internal/vfs/faultfs"
)

// Control takes orders for a node.
type Control struct {
	Clock Clock
	Disk  *faultfs.FS // nil: no disk layer

	begun time.Time
	ln    net.Listener
	wg    sync.WaitGroup
}

// patience bounds an order's connection.
const patience = 5 * time.Second

// Listen begins to take orders at the socket, in place of whoever did before.
func Listen(s Setup) (*Control, error) {
	c := &Control{begun: time.Now()}
	var err error
	if s.Twin != "" {
		if c.Disk, err = faultfs.Open(s.Data, s.Twin); err != nil {
			return nil, err
		}
	}
	if err := os.Remove(s.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if c.ln, err = net.Listen("unix", s.Socket); err != nil {
		return nil, fmt.Errorf("faults: %w", err)
	}
	c.wg.Go(c.serve)
	return c, nil
}

// Close returns when no order is under way any more.
func (c *Control) Close() error {
	err := c.ln.Close()
	c.wg.Wait()
	return err
}

func (c *Control) serve() {
	for {
		conn, err := c.ln.Accept()
		if err != nil {
			return
		}
		c.wg.Go(func() {
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(patience))
			var o Order
			var a Answer
			if err := json.NewDecoder(conn).Decode(&o); err != nil {
				a.Error = err.Error()
			} else {
				a = c.do(o)
			}
			json.NewEncoder(conn).Encode(a)
		})
	}
}

func (c *Control) do(o Order) (a Answer) {
	if c.Disk != nil {
		a.Hits = c.Disk.Hits()
	}
	switch {
	case o.Disk != nil && c.Disk == nil:
		a.Error = "there is no disk layer"
	case o.Disk != nil:
		if err := c.Disk.SetRules(*o.Disk); err != nil {
			a.Error = err.Error()
		}
	}
	if o.Clock != nil {
		c.Clock.Do(*o.Clock)
	}
	shown, real := c.Clock.Both()
	a.Wall, a.Real = shown.UnixNano(), real.UnixNano()
	a.Runs = int64(time.Since(c.begun))
	return a
}

// Send gives the node at a socket an order.
func Send(socket string, o Order) (a Answer, err error) {
	conn, err := net.DialTimeout("unix", socket, patience)
	if err != nil {
		return a, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if err := json.NewEncoder(conn).Encode(o); err != nil {
		return a, err
	}
	if err := json.NewDecoder(conn).Decode(&a); err != nil {
		return a, err
	}
	if a.Error != "" {
		return a, fmt.Errorf("faults: %s", a.Error)
	}
	return a, nil
}
