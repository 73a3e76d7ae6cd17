// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package redistest

import "syscall"

func attributes() *syscall.SysProcAttr { return nil }
