package raftlog_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/big"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/raftlog"
)

// Whoever is not the node that was meant, or not one that is known, is refused with the reason.
func TestHelloRefusesStrangers(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		change       func(*raftlog.TransportConfig)
		node         string
	}{
		{"cluster", `this is cluster "c", not "other"`, func(c *raftlog.TransportConfig) { c.Cluster = "other" }, "n2"},
		{"recycled address", `this is node "n2", not "n3"`, nil, "n3"},
		{"incarnation", "n1 with 6: a stranger", func(c *raftlog.TransportConfig) { c.Incarnation = 6 }, "n2"},
		{"data", "n1 with folder 8: a stranger", func(c *raftlog.TransportConfig) { c.Folder = 8 }, "n2"},
		{"data of whom it calls", "n2 with folder 9: a stranger", func(c *raftlog.TransportConfig) {
			c.Known = func(p raftlog.Peer) error {
				return fmt.Errorf("%s with folder %d: a stranger", p.Node, p.Folder)
			}
		}, "n2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *nodeNet) {
				n2 := n.open(t, "n2", func(c *raftlog.TransportConfig) {
					c.Folder = 9
					c.Known = func(p raftlog.Peer) error {
						if p.Incarnation >= 5 {
							return fmt.Errorf("%s with %d: a stranger", p.Node, p.Incarnation)
						}
						if p.Folder != 0 {
							return fmt.Errorf("%s with folder %d: a stranger", p.Node, p.Folder)
						}
						return nil
					}
				})
				n.ears["n3"] = n.ears["n2"] // n3's old address
				n1 := n.open(t, "n1", c.change)
				_, err := n1.Call(t.Context(), c.node, 1, nil)
				require.ErrorIs(t, err, raftlog.ErrUnreachable)
				require.ErrorIs(t, err, raftlog.ErrHello)
				require.ErrorContains(t, err, c.reason)
				if c.name != "data of whom it calls" {
					require.Positive(t, n2.Stats().HellosRefused)
				}

				// It is not there, so it is down at once.
				v := watchOf(n1)
				n1.SetPeers([]string{c.node})
				require.Equal(t, c.node+" false", v.next(t))
			})
		})
	}
}

// A class that is not judged is open to whom nobody knows, and both ends learn who is there. What was answered to hellos of other
// classes is told, with the reason.
func TestAnUnjudgedClassIsOpenToStrangers(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		told := make(chan string, 10)
		judged := func(c *raftlog.TransportConfig) {
			c.Folder, c.Level, c.Unjudged = uint64(len(c.Node)), 3, "open"
			c.Known = func(p raftlog.Peer) error {
				if p.Node == "n1" {
					return fmt.Errorf("%s is a stranger", p.Node)
				}
				return nil
			}
			c.Answered = func(p raftlog.Peer, as uint64, reason string) {
				told <- fmt.Sprint(c.Node, " as ", as, ": ", p, " ", reason)
			}
		}
		n2 := n.open(t, "n2", judged)
		n1 := n.open(t, "n1", judged)
		ln := n2.Listener("open")
		conn, err := n1.Dial(t.Context(), "n2", "open")
		require.NoError(t, err)
		defer conn.Close()
		theirs, err := ln.Accept()
		require.NoError(t, err)
		defer theirs.Close()
		there, ok := raftlog.PeerOf(conn)
		require.True(t, ok)
		require.Equal(t, raftlog.Peer{Node: "n2", Incarnation: 1, Folder: 2, Level: 3}, there)
		here, ok := raftlog.PeerOf(theirs)
		require.True(t, ok)
		require.Equal(t, raftlog.Peer{Node: "n1", Incarnation: 1, Folder: 2, Level: 3}, here)
		_, ok = raftlog.PeerOf(nil)
		require.False(t, ok)

		n2.Listener("closed")
		_, err = n1.Dial(t.Context(), "n2", "closed")
		require.ErrorContains(t, err, "n1 is a stranger")
		require.Equal(t, "n1 as 1: {n2 1 2 3} n1 is a stranger", <-told)
		require.Empty(t, told)
	})
}

// Whoever is expelled is hung up on, in connections both have dialled, and judged anew when it dials again; its later life is not.
func TestExpelHangsUpOnEarlierIncarnations(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		var gone atomic.Bool
		n2 := n.open(t, "n2", func(c *raftlog.TransportConfig) {
			c.Unjudged = "open"
			c.Known = func(p raftlog.Peer) error {
				if gone.Load() && p.Incarnation < 2 {
					return fmt.Errorf("%s was replaced", p.Node)
				}
				return nil
			}
		})
		n1 := n.open(t, "n1", nil)
		n1.Handle(1, echo)
		n2.Handle(1, echo)
		open := n2.Listener("open")
		other, err := n1.Dial(t.Context(), "n2", "open")
		require.NoError(t, err)
		defer other.Close()
		theirs, err := open.Accept()
		require.NoError(t, err)
		defer theirs.Close()
		both := func() (errs [2]error) {
			_, errs[0] = n1.Call(t.Context(), "n2", 1, nil)
			_, errs[1] = n2.Call(t.Context(), "n1", 1, nil)
			return errs
		}
		require.Equal(t, [2]error{}, both())
		n2.Expel("n1", 1) // it is no earlier one
		require.Equal(t, [2]error{}, both())
		gone.Store(true)
		n2.Expel("n1", 2)
		synctest.Wait()
		for _, err := range both() {
			require.ErrorIs(t, err, raftlog.ErrUnreachable)
			require.ErrorContains(t, err, "n1 was replaced")
		}
		go theirs.Write([]byte("still there"))
		b := make([]byte, 11)
		_, err = io.ReadFull(other, b)
		require.NoError(t, err)
	})
}

// The first 12 bytes of a hello are the same in every version, so a newer one can be told what is wrong.
func TestHelloRefusesNewerProtocolByName(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		n.open(t, "n2", nil)
		conn, err := n.dial(t.Context(), "n2")
		require.NoError(t, err)
		defer conn.Close()
		body := []byte("something from the future")
		hello := append([]byte("rmqT\x02\x00"), 25, 0)
		hello = binary.LittleEndian.AppendUint32(hello, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
		_, err = conn.Write(append(hello, body...))
		require.NoError(t, err)
		answer, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Equal(t, "rmqT\x01\x00", string(answer[:6]))
		require.Contains(t, string(answer), "protocol version 2, this node speaks 1")
	})
}

// Bytes that are no hello, and silence, end a connection; nothing stays behind.
func TestHelloEndsWhatIsNoPeer(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodeNet) {
		tr := n.open(t, "n2", nil)
		conn, err := n.dial(t.Context(), "n2")
		require.NoError(t, err)
		_, err = conn.Write([]byte("GET / HTTP/1.1\r\n"))
		require.ErrorIs(t, err, io.ErrClosedPipe)
		silent, err := n.dial(t.Context(), "n2")
		require.NoError(t, err)
		began := time.Now()
		_, err = silent.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, 2*time.Second, time.Since(began))
		synctest.Wait()
		require.Zero(t, tr.Stats().Connections)
	})
}

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{cert, key, pool}
}

func (a *authority) config(t testing.TB, name string) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	require.NoError(t, err)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, RootCAs: a.pool}
}

func withTLS(c *tls.Config) func(*raftlog.TransportConfig) {
	return func(t *raftlog.TransportConfig) { t.TLS = c }
}

// With TLS both ends prove that they are the node they claim to be.
func TestMutualTLSNamesBothEnds(t *testing.T) {
	n := newNodeNet()
	ca := newAuthority(t)
	n2 := n.open(t, "n2", withTLS(ca.config(t, "n2")))
	n2.Handle(1, echo)
	rs, _ := threeReplicas(t, newNodeNet(), func(c *raftlog.TransportConfig) { c.TLS = ca.config(t, c.Node) })
	require.NoError(t, leaderOf(t, rs).raft.Apply([]byte("over TLS"), 0).Error())
	waitEqual(t, rs)

	for _, c := range []struct {
		name string
		tls  *tls.Config
		ok   bool
	}{
		{"right", ca.config(t, "n1"), true},
		{"another node's certificate", ca.config(t, "n3"), false},
		{"another authority's certificate", newAuthority(t).config(t, "n1"), false},
		{"no certificate", &tls.Config{RootCAs: ca.pool}, false},
		{"no TLS", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n1 := n.open(t, "n1", withTLS(c.tls))
			resp, err := n1.Call(t.Context(), "n2", 1, []byte("hi"))
			if c.ok {
				require.NoError(t, err)
				require.Equal(t, "n1 hi", string(resp))
			} else {
				require.ErrorIs(t, err, raftlog.ErrUnreachable)
			}
		})
	}
	t.Run("wrong server", func(t *testing.T) {
		n.open(t, "n4", withTLS(ca.config(t, "n5")))
		n1 := n.open(t, "n1", withTLS(ca.config(t, "n1")))
		_, err := n1.Call(t.Context(), "n4", 1, nil)
		require.ErrorIs(t, err, raftlog.ErrUnreachable)
		require.ErrorContains(t, err, "n4")
	})
}
