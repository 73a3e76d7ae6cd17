// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package redistest

import "syscall"

// attributes has a process end with the test's, however that ends.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
