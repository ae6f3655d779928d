// Package conformance runs RocketMQ's official Go client, unmodified, against a
// cluster of real processes. It is a module of its own, so that users of raftmq
// do not inherit the client. README.md lists what is tested and which defects of
// the client the tests work around.
package conformance
