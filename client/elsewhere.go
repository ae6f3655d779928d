package client

// move gives units that may go elsewhere, and are certainly not stored, to a
// lane that is well, and returns the others.
func (l *lane) move(batch []*unit) (rest []*unit) {
	for _, u := range batch {
		if !u.movable {
			rest = append(rest, u)
			continue
		}
		to := l.elsewhere()
		if to == nil {
			rest = append(rest, u)
			continue
		}
		u.tries++
		u.state.Store(unitWaiting)
		to.add(u, nil)
	}
	return rest
}

// evacuate is move for what waits behind a batch that failed.
func (l *lane) evacuate() {
	to := l.elsewhere()
	if to == nil {
		return
	}
	l.mu.Lock()
	var stay, leave []*unit
	for _, u := range l.waiting {
		if u.movable {
			leave = append(leave, u)
			l.size -= u.size
		} else {
			stay = append(stay, u)
		}
	}
	l.waiting = stay
	l.mu.Unlock()
	for i, u := range leave {
		if i > 0 {
			if next := l.elsewhere(); next != nil {
				to = next
			}
		}
		u.tries++
		to.add(u, nil)
	}
}

// elsewhere is a lane of another broker name that is well; nil: none.
func (l *lane) elsewhere() *lane {
	l.p.c.routes.mu.Lock()
	r := l.p.c.routes.topics[l.topic]
	l.p.c.routes.mu.Unlock()
	if r == nil || len(r.writable) == 0 {
		return nil
	}
	to, well, err := l.p.next(r, l.queue.broker)
	if err != nil || !well || to == l {
		return nil
	}
	return to
}
