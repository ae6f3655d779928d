// Package sim is a cluster in one process whose time, network and disks are simulated:
// whole nodes, real but for what is under them.
package sim
