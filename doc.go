// Package raftmq is a message broker with RocketMQ's features and clients and
// etcd's guarantees. The program is in cmd/raftmq, its parts are described in
// ARCHITECTURE.md.
package raftmq
