// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/authsec-go/authsec/internal/hosts"
)

// Metadata describes a service to its clients (RFC 9728, section 2).
type Metadata struct {
	// Resource is this service's own URL, as its clients write it. It has no fragment.
	Resource string `json:"resource"`

	// AuthorizationServers are the issuers (RFC 8414) of OAuth servers that a client
	// may ask for a token. A Verifier accepts delegation tokens only, so list only
	// servers that issue these. None: clients get their tokens elsewhere.
	AuthorizationServers []string `json:"authorization_servers,omitempty"`

	// Scopes are the permissions that this service knows.
	Scopes []string `json:"scopes_supported,omitempty"`

	Name          string `json:"resource_name,omitempty"`          // for people to read
	Documentation string `json:"resource_documentation,omitempty"` // a URL, for developers
}

// MetadataHandler serves m as JSON to GET and HEAD. The JSON also says that tokens are
// read from the Authorization header. Put it outside a Verifier's handler, at
// /.well-known/oauth-protected-resource followed by the path of m.Resource (RFC 9728,
// section 3.1), and write its URL into [Config.ResourceMetadata].
//
// URLs in m have https, or http for a loopback host. The error joins all faults of m.
func MetadataHandler(m Metadata) (http.Handler, error) {
	var faults []error
	check := func(field, url string) {
		if err := checkURL(url); err != nil {
			faults = append(faults, fmt.Errorf("verify: Metadata.%s %w", field, err))
		}
	}
	check("Resource", m.Resource)
	for _, issuer := range m.AuthorizationServers {
		check("AuthorizationServers", issuer)
	}
	if m.Documentation != "" {
		check("Documentation", m.Documentation)
	}
	for _, p := range m.Scopes {
		if !isScopeToken(p) {
			faults = append(faults, fmt.Errorf("verify: Metadata.Scopes: %q is no permission (RFC 6749, section 3.3)", p))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	document, err := json.Marshal(struct {
		Metadata
		BearerMethods []string `json:"bearer_methods_supported"`
	}{m, []string{"header"}})
	if err != nil {
		return nil, fmt.Errorf("verify: Metadata: %w", err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(document) // fails only if the client has gone
	}), nil
}

// checkURL checks a URL for clients. Its errors follow a field's name.
func checkURL(s string) error {
	u, err := hosts.ParseURL(s, "https://api.example.com")
	switch {
	case err != nil:
		return err
	case u.Scheme != "https" && !hosts.Local(u, new(http.Transport)):
		return errors.New("has no https:// before its host, which is not loopback")
	case strings.Contains(s, "#"):
		return errors.New("has a fragment, which does not belong there")
	case !isScopeToken(s): // the characters that need no escaping in a header
		return errors.New("has a space, a quote or a character that is not ASCII: write it in percent-encoding")
	}
	return nil
}
