// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os/exec"
	"runtime"
	"sync"
)

// start starts a process that ends with this one.
func start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = tied()
	done := make(chan error)
	starter() <- func() { done <- cmd.Start() }
	return <-done
}

// starter starts all processes on one thread, which lasts as long as this process: a
// process with Pdeathsig ends with the thread that started it.
var starter = sync.OnceValue(func() chan<- func() {
	starts := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range starts {
			f()
		}
	}()
	return starts
})
