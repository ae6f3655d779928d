package client

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Who asks for a route wants the client's lock under that of the routes; so who
// lists the endpoints must not want the other under the first, or both wait for ever.
func TestListingEndpointsHoldsNobodyUp(t *testing.T) {
	c := &Client{endpoints: []string{"127.0.0.1:1"}}
	c.routes.init(c)
	c.routes.mu.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.endpointList()
	}()
	time.Sleep(50 * time.Millisecond) // it has come to the lock of the routes
	free := func() bool {
		if !c.mu.TryLock() {
			return false
		}
		c.mu.Unlock()
		return true
	}
	require.Eventually(t, free, time.Minute, time.Millisecond)
	c.routes.mu.Unlock()
	<-done
}
