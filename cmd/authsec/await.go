// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
)

// awaited runs do, and waits for its result until ctx ends. do may be in a system call
// that does not end. discard gets a result that comes after ctx ended.
func awaited[T any](ctx context.Context, do func() (T, error), discard func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result)
	go func() {
		value, err := do()
		select {
		case done <- result{value, err}:
		case <-ctx.Done():
			discard(value)
		}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// opened opens a file. It does not wait longer than ctx: the opening of a pipe waits
// for the pipe's other side.
func opened(ctx context.Context, open func() (*os.File, error)) (*os.File, error) {
	return awaited(ctx, open, func(file *os.File) { file.Close() }) // nil is closed, too
}

// readFile returns what is in a file or pipe, at most limit bytes. It does not wait
// longer than ctx.
func readFile(ctx context.Context, name string, limit int64) ([]byte, error) {
	return awaited(ctx, func() ([]byte, error) {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		content, err := io.ReadAll(io.LimitReader(file, limit+1))
		if err == nil && int64(len(content)) > limit {
			err = fmt.Errorf("%s has more than %d bytes", name, limit)
		}
		return content, err
	}, func([]byte) {})
}
