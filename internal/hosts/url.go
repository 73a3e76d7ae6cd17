// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package hosts

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// unfit reports whether s, a URL or a pattern, may hold a password or a key,
// and so may not be printed.
func unfit(s string) bool { return strings.ContainsAny(s, "@?#") }

// ParseURL parses an absolute http or https URL with a valid host and port,
// and without userinfo. Its errors go after a field's name. They show example,
// and never show what may be a secret.
func ParseURL(s, example string) (*url.URL, error) {
	shown := ""
	if !unfit(s) {
		shown = fmt.Sprintf(": %.100q", s)
	}
	u, err := url.Parse(s)
	if err != nil {
		if shown != "" {
			shown = fmt.Sprintf(": %.200v", err)
		}
		return nil, fmt.Errorf("is not a URL like %s%s", example, shown)
	}
	_, hostErr := hostOf(u)
	switch {
	case s == "":
		return nil, errors.New("is empty: write one like " + example)
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("has no https:// before its host%s", shown)
	case u.User != nil:
		return nil, errors.New("has a user name or password in it, which does not belong there")
	case hostErr != nil:
		return nil, fmt.Errorf("%w%s", hostErr, shown)
	case !validPort(u.Port()):
		return nil, fmt.Errorf("has no valid port%s", shown)
	}
	return u, nil
}

// ParseBase parses the URL of an AuthSec server's root. It ignores white space
// around s. The URL has no query, fragment or @. The caller decides about plain
// HTTP; see Local.
func ParseBase(s string) (*url.URL, error) {
	s = strings.TrimSpace(s)
	u, err := ParseURL(s, "https://authsec.example.com")
	switch {
	case err != nil:
		return nil, err
	case strings.Contains(u.Path, "@"): // as after a password with a slash in it
		return nil, errors.New("has an @ after its host: a user name or password does not belong there")
	case u.RawQuery != "" || u.ForceQuery:
		return nil, errors.New("has a query, which does not belong there")
	case strings.Contains(s, "#"):
		return nil, errors.New("has a fragment, which does not belong there")
	}
	return u, nil
}

// host is a host as net/http dials it. One of its fields is set.
type host struct {
	name string // without a trailing dot
	addr netip.Addr
}

// hostOf returns u's host. Its errors go after the URL or a field's name.
func hostOf(u *url.URL) (host, error) {
	s := u.Hostname()
	if strings.HasPrefix(u.Host, "[") {
		addr := parseAddr(s)
		if !addr.Is6() || addr.Zone() != "" && checkName(addr.Zone()) != nil {
			return host{}, errors.New("has no IPv6 address in its brackets")
		}
		return host{addr: addr}, nil
	}
	s = strings.TrimSuffix(s, ".")
	if err := checkName(s); err != nil {
		return host{}, err
	}
	if addr := parseAddr(s); addr.IsValid() {
		return host{addr: addr}, nil
	}
	return host{name: s}, nil
}

// same compares ASCII only: checkName accepts nothing else.
func (h host) same(other host) bool {
	return h.addr == other.addr && strings.EqualFold(h.name, other.name)
}

// below reports whether h is a subdomain of parent. An address has none: its
// name is empty, and no name ends with a dot.
func (h host) below(parent host) bool {
	i := len(h.name) - len(parent.name) - 1
	return i > 0 && h.name[i] == '.' && strings.EqualFold(h.name[i+1:], parent.name)
}

// parseAddr returns the IP address that s spells, or the zero Addr. It recognizes
// most names first, because the error of netip.ParseAddr costs an allocation.
func parseAddr(s string) netip.Addr {
	digit := func(c byte) bool { return '0' <= c && c <= '9' }
	if s == "" || !strings.Contains(s, ":") && !(digit(s[0]) && digit(s[len(s)-1])) {
		return netip.Addr{}
	}
	addr, _ := netip.ParseAddr(s)
	return addr
}

// checkName accepts the host names of DNS and of container networks, in ASCII.
func checkName(s string) error {
	if len(s) > 253 {
		return errors.New("is longer than a host name can be")
	}
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return errors.New("has no host name, or an empty label in it")
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
		case c == ':':
			return errors.New("has a colon and no valid port after it (IPv6 addresses are written in brackets)")
		case c >= 0x80:
			return errors.New("has a host that is not ASCII (international names are written as xn--...)")
		default:
			return errors.New("has a character in its host that no host name has")
		}
	}
	return nil
}

// validPort accepts "" and 1 to 65535 without leading zeros.
func validPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return s == "" || err == nil && s[0] != '0'
}

// portOf returns u's port, or its scheme's default.
func portOf(u *url.URL) string { return effectivePort(u.Scheme, u.Port()) }

func effectivePort(scheme, port string) string {
	switch {
	case port != "":
		return port
	case scheme == "https":
		return "443"
	default:
		return "80"
	}
}
