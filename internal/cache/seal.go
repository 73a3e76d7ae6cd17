// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// KeySize is a key's length in bytes: AES-256's.
const KeySize = 32

// What a stored entry begins with.
const (
	unsealed = 0 // JSON follows
	sealed   = 1 // a nonce of 12 bytes and AES-256-GCM's ciphertext follow
)

var (
	errUnknownForm = errors.New("it has a form that is not known")
	errUnsealed    = errors.New("it is not sealed")
	errSealed      = errors.New("it is sealed, and there is no key")
	errNoKey       = errors.New("none of the keys opens it: it was changed, stored for another agent or server, or sealed by a key that is not in the list")
)

// sealer seals entries so that only those who have a key can read or make one,
// each for its agent and server alone.
type sealer struct {
	aeads []cipher.AEAD // the first seals, all open; none: entries are not sealed
	bound []byte        // what an entry is bound to
}

func newSealer(keys [][]byte, bound []byte) (*sealer, error) {
	s := &sealer{bound: bound}
	for i, key := range keys {
		if len(key) != KeySize { // AES-128 and AES-192 have keys, too
			return nil, fmt.Errorf("key %d has %d bytes, not %d", i, len(key), KeySize)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		s.aeads = append(s.aeads, aead)
	}
	return s, nil
}

// seal returns data in the form in which it is stored.
func (s *sealer) seal(data []byte) []byte {
	if len(s.aeads) == 0 {
		return append([]byte{unsealed}, data...)
	}
	return s.aeads[0].Seal([]byte{sealed}, nil, data, s.bound)
}

// open returns what was sealed.
func (s *sealer) open(stored []byte) ([]byte, error) {
	switch {
	case len(stored) == 0 || stored[0] > sealed:
		return nil, errUnknownForm
	case stored[0] == unsealed && len(s.aeads) > 0:
		return nil, errUnsealed
	case stored[0] == unsealed:
		return stored[1:], nil
	case len(s.aeads) == 0:
		return nil, errSealed
	}
	for _, aead := range s.aeads {
		if data, err := aead.Open(nil, nil, stored[1:], s.bound); err == nil {
			return data, nil
		}
	}
	return nil, errNoKey
}

// binding is what the entries of an agent at a server are bound to, and the key
// that they have in a store, which does not tell the client ID.
func binding(server, agent string) (bound []byte, key string) {
	bound = fmt.Appendf(nil, "authsec cache 1\x00%q\x00%q", server, agent)
	sum := sha256.Sum256(bound)
	return bound, hex.EncodeToString(sum[:])
}
