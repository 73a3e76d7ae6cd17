// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import "syscall"

// tied does nothing. Agents end with their standard input. A Redis server outlives a
// parent that is killed.
func tied() *syscall.SysProcAttr { return nil }
