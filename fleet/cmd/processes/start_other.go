// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import "syscall"

// tied does nothing: agents end with their standard input, and a Redis server
// outlives a parent that is killed.
func tied() *syscall.SysProcAttr { return nil }
