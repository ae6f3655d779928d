// Package report shows a run as one page that needs nothing else: the verdict of each
// property, the contradictions with their lines, and what clients saw over time under
// the faults. It judges nothing.
package report
