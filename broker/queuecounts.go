package broker

// watchQueueCounts has groups share their queues anew as soon as a topic of theirs has
// more or fewer of them: clients ask for routes every 30 s only.
func (b *Broker) watchQueueCounts() {
	was := make(map[string]int32)
	for first := true; ; first = false {
		changed := b.catalogue.Changed()
		other, there := make(map[string]bool), make(map[string]int32, len(was))
		for _, t := range b.catalogue.Topics() {
			there[t.Name] = t.ReadQueues
			if n, ok := was[t.Name]; ok && n != t.ReadQueues {
				other[t.Name] = true
			}
		}
		was = there
		if len(other) > 0 && !first {
			b.clients.notifyOf(other)
		}
		select {
		case <-changed:
		case <-b.ctx.Done():
			return
		}
	}
}
