// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package redistest

import "syscall"

// attributes makes a process end when the test's process ends, in whatever way.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
