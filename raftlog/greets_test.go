package raftlog

// Greeted is of how many groups each node that a link leads to is still to be told.
func (h *Host) Greeted() map[string]int {
	h.greetings.mu.Lock()
	defer h.greetings.mu.Unlock()
	left := make(map[string]int)
	for node, n := range h.greetings.up {
		left[node] = len(n.lacking)
	}
	return left
}
