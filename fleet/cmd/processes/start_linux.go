// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import "syscall"

// tied makes the kernel kill a process when the thread that started it ends.
func tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
