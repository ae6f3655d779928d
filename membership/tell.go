package membership

import "sync"

// tellers send to each peer from a goroutine of its own, one at a time and only
// the latest: a peer that hangs costs one goroutine and delays nobody else.
type tellers struct {
	wg sync.WaitGroup

	mu   sync.Mutex
	next map[string][]byte // while a goroutine sends to that peer; nil: nothing more
}

// to sends b, which must not change any more. send runs in another goroutine.
func (t *tellers) to(peer string, b []byte, send func([]byte)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next == nil {
		t.next = make(map[string][]byte)
	}
	if _, busy := t.next[peer]; busy {
		t.next[peer] = b
		return
	}
	t.next[peer] = nil
	t.wg.Go(func() {
		for b := b; b != nil; b = t.take(peer) {
			send(b)
		}
	})
}

func (t *tellers) take(peer string) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.next[peer]
	if b == nil {
		delete(t.next, peer)
	} else {
		t.next[peer] = nil
	}
	return b
}

// wait returns when all has been sent; nothing may be sent any more.
func (t *tellers) wait() { t.wg.Wait() }
