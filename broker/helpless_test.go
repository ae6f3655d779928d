package broker

import "testing"

// A replica that met damage is closed. If nobody is there who could help it is opened again: what could not be read may be
// read now, and what is not damaged is served.
func TestAReplicaThatNobodyCanHelpIsOpenedAgain(t *testing.T) {
	l := newLone(t)
	l.store(60)
	l.stop() // so that the queue is read from its file
	l.run()
	p := l.meetDamage()
	eventually(t, func() bool {
		now, open := l.partition(l.part)
		return open && now != p
	})
	l.store(1)
	l.runs()
}
