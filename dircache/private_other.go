// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package dircache

import "io/fs"

const nonblock = 0

// private and mayHold can't tell: on these systems the mode does not say who has access.
func private(fs.FileInfo) error { return nil }
func mayHold(fs.FileInfo) error { return nil }
