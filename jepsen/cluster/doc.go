// Package cluster runs the nodes of a cluster as processes of this machine, and
// stops, kills, pauses and asks them. Each thing that it does to a process it also
// looks for: what is not seen to have happened is an error.
package cluster
