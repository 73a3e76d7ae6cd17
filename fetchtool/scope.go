// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package fetchtool

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/authsec-go/authsec/internal/urlpath"
)

// maxURL is how many bytes of a URL are looked at: servers commonly take request
// lines of 8 KiB.
const maxURL = 8 << 10

// target is a URL in canonical form. This form is compared and sent. The text that it
// was made from is not sent.
type target struct {
	scheme string // "https" or "http"
	host   string // lower case, with the port unless it is the scheme's default
	path   string // escaped, with no dot or empty segments; begins with a slash
	query  string // with its question mark, or ""
}

func (t target) String() string { return t.scheme + "://" + t.host + t.path + t.query }

func (t target) url() *url.URL {
	decoded, _ := url.PathUnescape(t.path) // urlpath.Clean wrote it
	query, marked := strings.CutPrefix(t.query, "?")
	return &url.URL{Scheme: t.scheme, Host: t.host, Path: decoded, RawPath: t.path, RawQuery: query, ForceQuery: marked && query == ""}
}

// scope is the URLs below which a tool may fetch.
type scope []target

// permits reports whether t is one of the URLs or lies below one.
func (s scope) permits(t target) bool {
	return slices.ContainsFunc(s, func(root target) bool {
		return t.scheme == root.scheme && t.host == root.host && pathBelow(t.path, root.path)
	})
}

// pathBelow compares whole segments.
func pathBelow(p, root string) bool {
	return root == "/" || p == root || strings.HasPrefix(p, root+"/")
}

// resolve returns the permitted target that a model's text names. Its error
// follows "The URL".
func (s scope) resolve(text string) (target, error) {
	text, err := s.absolute(text)
	if err != nil {
		return target{}, err
	}
	t, err := parseTarget(text)
	if err != nil {
		return target{}, err
	}
	if !s.permits(t) {
		return target{}, errors.New("lies below none of the permitted URLs")
	}
	return t, nil
}

// absolute puts a relative text below the scope's only URL.
func (s scope) absolute(text string) (string, error) {
	if err := checkAlone(text); err != nil {
		return "", err
	}
	if err := checkText(text); err != nil {
		return "", err
	}
	switch {
	case text == "":
		return "", errors.New("is empty")
	case hasScheme(text):
		return text, nil
	case strings.HasPrefix(text, "//"):
		return "", errors.New("begins with two slashes: write it with its https://, or one slash")
	case len(s) != 1:
		return "", errors.New("is only a path, which could lie below several of the permitted URLs: write the whole URL")
	}
	root := s[0]
	if namesHost(text, root.host) {
		return "", errors.New("has no https:// before its host: write the whole URL")
	}
	if text[0] == '?' {
		return root.String() + text, nil
	}
	if text[0] == '/' && root.path != "/" {
		p, _, _ := strings.Cut(text, "?")
		p, _, _ = strings.Cut(p, "#")
		if p, err := urlpath.Clean(p); err == nil && pathBelow(p, root.path) {
			return "", fmt.Errorf("is a path that could count from the host or from %s: write the whole URL", root)
		}
	}
	return strings.TrimSuffix(root.String(), "/") + "/" + strings.TrimPrefix(text, "/"), nil
}

// namesHost reports whether a relative text begins with a host's name. That is
// more likely to be a URL without its scheme than a path.
func namesHost(text, host string) bool {
	first, err := canonicalHost("https", text[:strings.IndexAny(text+"/", "/?#")])
	name, _, _ := strings.Cut(host, ":")
	return err == nil && first == name
}

// hasScheme reports whether text has a scheme, or what would be read as one.
func hasScheme(text string) bool {
	return strings.HasPrefix(strings.TrimLeftFunc(text, func(r rune) bool { return !strings.ContainsRune("/?#:", r) }), ":")
}

// checkText refuses texts that URL parsers read in several ways.
func checkText(text string) error {
	switch {
	case len(text) > maxURL:
		return fmt.Errorf("is longer than %d bytes", maxURL)
	case !utf8.ValidString(text):
		return errors.New("is not valid UTF-8")
	case strings.Contains(text, `\`):
		return errors.New("has a backslash in it")
	case strings.ContainsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || urlpath.Invisible(r) }):
		return errors.New("has white space or an invisible character in it: leave it out")
	}
	return nil
}

// parseTarget parses an absolute URL. A fragment is dropped: no server sees it.
func parseTarget(text string) (target, error) {
	if err := checkText(text); err != nil {
		return target{}, err
	}
	scheme, rest, _ := strings.Cut(text, "://")
	t := target{scheme: strings.ToLower(scheme)} // not EqualFold, which takes a long s for an s
	if t.scheme != "https" && t.scheme != "http" {
		return target{}, errors.New("does not begin with https:// (leave out anything before the URL or path)")
	}
	rest, _, _ = strings.Cut(rest, "#")
	end := strings.IndexAny(rest+"/", "/?")
	p, query, marked := strings.Cut(rest[end:], "?")
	var err error
	if t.host, err = canonicalHost(t.scheme, rest[:end]); err != nil {
		return target{}, err
	}
	if t.path, err = urlpath.Clean(p); err != nil {
		return target{}, err
	}
	if marked {
		t.query = "?" + urlpath.Escape(query, func(c byte) bool { return c < utf8.RuneSelf })
	}
	return t, nil
}

// canonicalHost returns the canonical form of a URL's authority. It accepts
// international names only in their ASCII form, so no letter can look like another.
func canonicalHost(scheme, authority string) (string, error) {
	if strings.Contains(authority, "@") {
		return "", errors.New("has a user name or password in it")
	}
	var host, port string
	if strings.HasPrefix(authority, "[") {
		inner, after, closed := strings.Cut(authority[1:], "]")
		addr, err := netip.ParseAddr(inner)
		if err != nil || !closed || !addr.Is6() || addr.Zone() != "" || after != "" && after[0] != ':' {
			return "", errors.New("has no valid IPv6 address in its brackets")
		}
		host, port = "["+addr.String()+"]", strings.TrimPrefix(after, ":")
	} else {
		host, port, _ = strings.Cut(authority, ":")
		host = strings.TrimSuffix(strings.ToLower(host), ".")
		for label := range strings.SplitSeq(host, ".") {
			if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
				return "", errors.New("has no valid host (international names are written as xn--...)")
			}
		}
	}
	if port == "" {
		return host, nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || port != strconv.FormatUint(n, 10) {
		return "", errors.New("has no valid port")
	}
	if scheme == "https" && n == 443 || scheme == "http" && n == 80 {
		return host, nil
	}
	return host + ":" + port, nil
}
