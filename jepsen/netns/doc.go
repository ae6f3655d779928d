// Package netns gives each host a network namespace of its own, and joins them by a
// switch in this process: a TAP device each, whose Ethernet frames are passed on as the
// rules of package link say. The kernel needs tun and network namespaces, no netem, no
// bridge and no filter; this process needs the right to make namespaces and to open
// /dev/net/tun. Linux only; elsewhere nothing here works, and Possible says so.
//
// ARP passes whatever the rules: what is cut off is lost, not unreachable.
package netns
