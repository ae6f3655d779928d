package raftlog

import "errors"

// errSitsOut is why a replica that sits out asks for no votes and does not stand.
var errSitsOut = errors.New("raftlog: this replica does not stand for election")

// SitOut keeps this replica from standing for election, by itself, by nudge or by
// transfer, until it is called with false. It goes on to vote, and to store and apply
// entries; if it leads it goes on to lead: see Transfer. The only voter of a group
// leads nevertheless.
func (r *Replica) SitOut(out bool) { r.net.sitsOut.Store(out) }

// SitsOut reports what SitOut said last.
func (r *Replica) SitsOut() bool { return r.net.sitsOut.Load() }
