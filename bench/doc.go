// Command bench measures raftmq against NATS JetStream on one machine, row by row, and renders docs/performance.md.
//
// A row (row_*.go) says what it measures, on which sides, how often, and what must hold of the medians. The sides
// take turns (A B A B), each run with a cluster of three processes of its own, freshly founded, while no other cluster runs. A run that has ended is
// in the row's result file before the next begins, so a run of the bench that is broken off goes on there. A row whose file was made at another
// scale, or by another build of raftmq and not to its end, begins anew.
//
// raftmq is measured through its own "raftmq bench" and "raftmq dev", as processes; NATS by nats-server's own main package, and by a load that
// is a process of this program (natsload.go).
package main
