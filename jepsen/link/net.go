package link

import "math/rand/v2"

// Net is the links between hosts, numbered from 0.
type Net struct {
	names []string
	links [][]*Link
}

// New makes the links between the named hosts. Each draws from the stream of its own
// name, so that what one link draws changes nothing for another.
func New(names []string, stream func(name string) *rand.Rand) *Net {
	n := &Net{names: names}
	for _, from := range names {
		var row []*Link
		for _, to := range names {
			row = append(row, &Link{rng: stream("link/" + from + ">" + to), changed: make(chan struct{})})
		}
		n.links = append(n.links, row)
	}
	return n
}

// Hosts is how many there are.
func (n *Net) Hosts() int { return len(n.names) }

// Name is a host's.
func (n *Net) Name(host int) string { return n.names[host] }

// Link is the way from one host to another.
func (n *Net) Link(from, to int) *Link { return n.links[from][to] }

// Heal lets all pass on every link.
func (n *Net) Heal() {
	for _, row := range n.links {
		for _, l := range row {
			l.Set(Rule{})
		}
	}
}
