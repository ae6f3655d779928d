// Package features holds a test for every row of what RocketMQ's introductions name:
// A1 to A24 sending, A25 to A32 order and transactions, A33 to A50 consuming, A51 to A63
// storage, A64 to A80 the cluster; and two more that those do not name. A row is a subtest of that name.
//
// At their usual size the rows run against three nodes in this process. With
// RAFTMQ_FEATURES=PROGRAM they run against three processes of that program, wait as long
// as the defaults say, and those that are about state run while one node after the other, leaders of a third of all, is killed with
// -9. Either way a table of row, what it is about and result is logged at the end (-v).
package features
