// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package authsec

import (
	"context"
	"errors"
	"fmt"

	"github.com/authsec-go/authsec/internal/flight"
	"github.com/authsec-go/authsec/internal/wire"
	"golang.org/x/oauth2"
)

// bearer is a token for a request. The zero value is no token.
type bearer struct {
	value string        // of the Authorization header
	text  string        // the access token
	token *oauth2.Token // from a source that is not ours; nil: from a *Source
}

// token gets the token for a request.
func (p *prepared) token(ctx context.Context) (bearer, error) {
	if p.source == nil {
		return p.call(ctx, func(ctx context.Context) (*oauth2.Token, error) {
			if c, ok := p.foreign.(contextSource); ok {
				return c.TokenContext(ctx)
			}
			return p.foreign.Token()
		})
	}
	c, err := p.source.get(ctx)
	if err != nil {
		return bearer{}, err
	}
	return bearer{value: *c.bearer, text: c.token.AccessToken}, nil
}

// renew gets a token in place of one that the API at host rejected.
func (p *prepared) renew(ctx context.Context, rejected bearer, host string) (bearer, error) {
	if s, ok := p.foreign.(renewer); ok {
		return p.call(ctx, func(ctx context.Context) (*oauth2.Token, error) { return s.Renew(ctx, rejected.token) })
	}
	c, err := p.source.renew(ctx, rejected.text, host)
	if err != nil {
		return bearer{}, err
	}
	return bearer{value: *c.bearer, text: c.token.AccessToken}, nil
}

// call calls a source that is not ours. It may hang, panic or end its goroutine.
func (p *prepared) call(ctx context.Context, method func(context.Context) (*oauth2.Token, error)) (bearer, error) {
	if ctx.Err() != nil {
		return bearer{}, contextError(ctx, "waiting for a token")
	}
	token, err := flight.Do(ctx, nil, method, nil)
	var panicked *flight.PanicError
	switch {
	case err != nil && ctx.Err() != nil && err == ctx.Err():
		return bearer{}, contextError(ctx, "waiting for a token")
	case err == flight.ErrExited || errors.As(err, &panicked):
		return bearer{}, fmt.Errorf("authsec: Transport.Source %w", err)
	case err != nil:
		return bearer{}, err
	case token == nil || token.AccessToken == "":
		return bearer{}, errors.New("authsec: Transport.Source returned no token")
	case !wire.IsHeaderSafe(token.AccessToken) || !wire.IsHeaderSafe(token.Type()):
		return bearer{}, errors.New("authsec: Transport.Source returned a token that no header can hold")
	}
	return bearer{value: token.Type() + " " + token.AccessToken, text: token.AccessToken, token: token}, nil
}
