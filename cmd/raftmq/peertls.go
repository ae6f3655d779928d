package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"raftmq/broker"
)

// peerTLS reads the certificates of traffic between nodes; nil if none are set.
func (s *settings) peerTLS() (*tls.Config, error) {
	if s.tlsCert == "" && s.tlsKey == "" && s.tlsCA == "" {
		return nil, nil
	}
	if s.tlsCert == "" || s.tlsKey == "" || s.tlsCA == "" {
		return nil, fmt.Errorf("%w: peer-tls-cert-file, peer-tls-key-file and peer-tls-ca-file go together", broker.ErrConfig)
	}
	cert, err := tls.LoadX509KeyPair(s.tlsCert, s.tlsKey)
	if err != nil {
		return nil, fmt.Errorf("%w: peer TLS: %w", broker.ErrConfig, err)
	}
	if err := cert.Leaf.VerifyHostname(s.Node); err != nil {
		return nil, fmt.Errorf("%w: %s is not for node %q: %w", broker.ErrConfig, s.tlsCert, s.Node, err)
	}
	pem, err := os.ReadFile(s.tlsCA)
	if err != nil {
		return nil, fmt.Errorf("%w: peer TLS: %w", broker.ErrConfig, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%w: %s: no certificate", broker.ErrConfig, s.tlsCA)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, ClientCAs: pool, MinVersion: tls.VersionTLS13}, nil
}
