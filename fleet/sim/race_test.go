// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

//go:build race

package sim

func init() { raceDetector = true }
