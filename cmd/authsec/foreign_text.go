// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/authsec-go/authsec"
	"github.com/authsec-go/authsec/cmd/authsec/internal/answers"
)

// plain is the error of a request as it may be shown: without the URL, whose query may
// hold a secret, and without bytes of the server.
func plain(err error) error {
	err = withoutURL(err)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, new(*authsec.Error)), errors.As(err, new(*os.PathError)),
		strings.HasPrefix(err.Error(), "authsec: "):
		return err
	}
	return fmt.Errorf("no answer, or no whole one: %s", answers.Failure(err))
}

func withoutURL(err error) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}
