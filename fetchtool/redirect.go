// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package fetchtool

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

const maxRedirects = 10 // as net/http has it by default

// guard is a transport that checks each redirect's URL like every other URL, before
// net/http reads it. It replaces the Location by the form that was checked.
type guard struct {
	base http.RoundTripper
	tool *Tool
}

func (g guard) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := g.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	location := resp.Header.Get("Location")
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return resp, nil
	}
	if location == "" {
		return resp, nil
	}
	to, err := g.tool.redirected(req, location)
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	resp.Header.Set("Location", to.String())
	return resp, nil
}

// redirected returns where a redirect leads, if that is permitted.
func (t *Tool) redirected(req *http.Request, location string) (target, error) {
	from, err := parseTarget(req.URL.String())
	if err != nil {
		return target{}, t.refuseRedirect("it comes from a URL that " + err.Error())
	}
	to, err := from.follow(location)
	switch {
	case err != nil:
		return target{}, t.refuseRedirect("its URL " + err.Error())
	case !t.scope.permits(to):
		return target{}, t.refuseRedirect("its URL lies below none of the permitted URLs")
	case to.scheme == "http" && from.scheme == "https":
		return target{}, t.refuseRedirect("it leads from https to http")
	}
	return to, nil
}

// checkRedirect is the http.Client's CheckRedirect. It checks what guard can't see:
// the next method, and the number of redirects.
func (t *Tool) checkRedirect(req *http.Request, via []*http.Request) error {
	if !slices.Contains(t.methods, req.Method) {
		return t.refuseRedirect("it asks for a " + req.Method + ", which is not permitted")
	}
	if len(via) > maxRedirects {
		return t.refuseRedirect(fmt.Sprintf("it is one more than %d", maxRedirects))
	}
	return nil
}

func (t *Tool) refuseRedirect(why string) error {
	return fail(RedirectRefused, "The API redirects, and the redirect was not followed: %s. %s", why, t.urlHint())
}

// follow resolves a Location header (RFC 3986, section 5.2) by the rule of
// parseTarget.
func (t target) follow(location string) (target, error) {
	if err := checkText(location); err != nil {
		return target{}, err
	}
	origin := t.scheme + "://" + t.host
	switch {
	case hasScheme(location):
	case strings.HasPrefix(location, "//"):
		location = t.scheme + ":" + location
	case strings.HasPrefix(location, "/"):
		location = origin + location
	case location == "" || location[0] == '#':
		location = t.String()
	case location[0] == '?':
		location = origin + t.path + location
	default:
		location = origin + t.path[:strings.LastIndexByte(t.path, '/')+1] + location
	}
	return parseTarget(location)
}
