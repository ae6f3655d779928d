package broker

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// A node that listens on its own address only is looked at from its host by that.
func TestWhoIsOnThisHost(t *testing.T) {
	answers := func(status int) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(status) })
	}
	h := fromHere(answers(http.StatusOK), answers(http.StatusForbidden))
	for _, x := range []struct {
		from, to string
		status   int
	}{
		{"127.0.0.1:1", "127.0.0.1", http.StatusOK},
		{"[::1]:1", "::1", http.StatusOK},
		{"10.0.0.1:1", "10.0.0.1", http.StatusOK},
		{"10.0.0.2:1", "10.0.0.1", http.StatusForbidden},
		{"10.0.0.2:1", "0.0.0.0", http.StatusForbidden},
		{"10.0.0.2:1", "", http.StatusForbidden},
		{"", "10.0.0.1", http.StatusForbidden},
	} {
		r := httptest.NewRequest(http.MethodGet, "/debug/partitions", nil)
		r.RemoteAddr = x.from
		if x.to != "" {
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.ParseIP(x.to), Port: 10600})))
		}
		rw := httptest.NewRecorder()
		h.ServeHTTP(rw, r)
		require.Equal(t, x.status, rw.Code, "%+v", x)
	}
}
