package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftmq/broker"
)

// certificates writes ca.pem and NODE.pem and NODE.key for each; a node may be several,
// joined by commas, who share a certificate.
func certificates(t *testing.T, dir string, nodes ...string) {
	t.Helper()
	write := func(name, kind string, der []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o640))
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	require.NoError(t, err)
	write("ca.pem", "CERTIFICATE", der)
	for i, node := range nodes {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 2)), DNSNames: strings.Split(node, ","), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
		require.NoError(t, err)
		write(node+".pem", "CERTIFICATE", der)
		private, err := x509.MarshalPKCS8PrivateKey(key)
		require.NoError(t, err)
		write(node+".key", "PRIVATE KEY", private)
	}
}

func tlsFlags(dir, node string) []string {
	return []string{"--peer-tls-cert-file", filepath.Join(dir, node+".pem"), "--peer-tls-key-file", filepath.Join(dir, node+".key"), "--peer-tls-ca-file", filepath.Join(dir, "ca.pem")}
}

func TestWrongCertificatesAreRefused(t *testing.T) {
	dir := t.TempDir()
	certificates(t, dir, "n1", "n2")
	s, err := filled(t, "node: n1\n", tlsFlags(dir, "n1")...)
	require.NoError(t, err)
	c, err := s.peerTLS()
	require.NoError(t, err)
	require.NotNil(t, c)
	for says, args := range map[string][]string{
		"go together":     tlsFlags(dir, "n1")[:4],
		"is not for node": tlsFlags(dir, "n2"),
		"no such file":    tlsFlags(dir, "n3"),
	} {
		s, err := filled(t, "node: n1\n", args...)
		require.NoError(t, err)
		_, err = s.peerTLS()
		require.ErrorIs(t, err, broker.ErrConfig)
		require.ErrorContains(t, err, says)
	}
}

// A cluster whose nodes prove to each other who they are works as another does.
func TestNodesTalkOverTLS(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	certificates(t, dir, "n1,n2,n3")
	d := startTestDev(t, tlsFlags(dir, "n1,n2,n3")...)
	t.Setenv("RAFTMQ_ENDPOINT", d.nodes(t)[0].Nameserver)
	for _, args := range [][]string{{"topic", "create", "orders"}, {"send", "orders", "hello"}, {"consume", "orders", "--group", "g", "--count", "1", "--timeout", "2m"}} {
		code, _, errs := raftmq(t, args...)
		require.Zero(t, code, errs)
	}
	_, err := tls.Dial("tcp", d.nodes(t)[0].Raft, &tls.Config{InsecureSkipVerify: true})
	require.NoError(t, err, "it speaks TLS")
}
