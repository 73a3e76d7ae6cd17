// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package redistest

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
)

// StartReplica starts a replica of master, which must have no password.
func StartReplica(t testing.TB, master *Server, config ...string) *Server {
	t.Helper()
	host, port, _ := net.SplitHostPort(master.Addr)
	return Start(t, append([]string{"replicaof " + host + " " + port, "repl-diskless-sync-delay 0"}, config...)...)
}

// StartCluster starts a cluster of n nodes, without replicas.
func StartCluster(t testing.TB, n int, config ...string) []*Server {
	t.Helper()
	nodes := make([]*Server, n)
	for i := range nodes {
		nodes[i] = start(t, nil, func(port int) []string {
			return append([]string{
				"port " + strconv.Itoa(port), "cluster-enabled yes", "cluster-port " + strconv.Itoa(freePort(t)),
				`save ""`, "appendonly no",
			}, config...)
		})
	}
	for i, node := range nodes {
		node.CLI("cluster", "addslotsrange", strconv.Itoa(i*slots/n), strconv.Itoa((i+1)*slots/n-1))
		node.CLI("cluster", "set-config-epoch", strconv.Itoa(i+1))
	}
	for _, node := range nodes[1:] {
		host, port, _ := net.SplitHostPort(nodes[0].Addr)
		node.CLI("cluster", "meet", host, port, nodes[0].busPort())
	}
	for _, node := range nodes {
		wait(t, "a node of a cluster to see all others", func() bool {
			info := node.CLI("cluster", "info")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:"+strconv.Itoa(n))
		})
	}
	return nodes
}

const slots = 16384 // of a cluster

func (s *Server) busPort() string {
	for _, line := range s.config {
		if port, ok := strings.CutPrefix(line, "cluster-port "); ok {
			return port
		}
	}
	return ""
}

// StartSentinel starts a sentinel that watches master under this name. If master does
// not answer for a second, the sentinel makes one of its replicas the master.
func StartSentinel(t testing.TB, name string, master *Server) *Server {
	t.Helper()
	host, masterPort, _ := net.SplitHostPort(master.Addr)
	return start(t, []string{"--sentinel"}, func(port int) []string {
		return []string{
			"port " + strconv.Itoa(port),
			fmt.Sprintf("sentinel monitor %s %s %s 1", name, host, masterPort),
			fmt.Sprintf("sentinel down-after-milliseconds %s 1000", name),
			fmt.Sprintf("sentinel failover-timeout %s 5000", name),
		}
	})
}

// WaitForReplicas waits until n replicas have everything that the server wrote.
func (s *Server) WaitForReplicas(n int) {
	s.t.Helper()
	// WAIT works only on the connection that wrote.
	wait(s.t, "replicas to have everything", func() bool {
		info := s.CLI("info", "replication")
		_, offset, _ := strings.Cut(info, "master_repl_offset:")
		offset, _, _ = strings.Cut(offset, "\n")
		return strings.Count(info, "state=online,offset="+strings.TrimSpace(offset)+",") == n
	})
}
