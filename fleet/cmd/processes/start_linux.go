// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import "syscall"

// tied has the kernel kill a process when the thread ends that started it.
func tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
