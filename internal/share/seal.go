// Copyright 2026 The authsec Authors
// SPDX-License-Identifier: Apache-2.0

package share

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// KeySize is the length of a key in bytes: AES-256's.
const KeySize = 32

// The first byte of a stored entry.
const (
	plaintext = 0 // JSON follows
	encrypted = 1 // a nonce of 12 bytes and the ciphertext of AES-256-GCM follow
)

var (
	errUnknownForm = errors.New("it has an unknown form")
	errPlaintext   = errors.New("it is not encrypted")
	errEncrypted   = errors.New("it is encrypted, and there is no key")
	errNoKey       = errors.New("no key decrypts it: it was changed, stored for another agent or server, or encrypted with a key that is not in the list")
)

// sealer encrypts entries, and binds them to an agent and a server.
type sealer struct {
	aeads []cipher.AEAD // the first encrypts, all decrypt; none: entries are plaintext
	bound []byte        // what an entry is bound to, as additional data
}

func newSealer(keys [][]byte, bound []byte) (*sealer, error) {
	s := &sealer{bound: bound}
	for i, key := range keys {
		if len(key) != KeySize { // aes.NewCipher also accepts shorter keys
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

// seal returns data in its stored form.
func (s *sealer) seal(data []byte) []byte {
	if len(s.aeads) == 0 {
		return append([]byte{plaintext}, data...)
	}
	return s.aeads[0].Seal([]byte{encrypted}, nil, data, s.bound)
}

// open returns the data of a stored entry.
func (s *sealer) open(stored []byte) ([]byte, error) {
	switch {
	case len(stored) == 0 || stored[0] > encrypted:
		return nil, errUnknownForm
	case stored[0] == plaintext && len(s.aeads) > 0:
		return nil, errPlaintext
	case stored[0] == plaintext:
		return stored[1:], nil
	case len(s.aeads) == 0:
		return nil, errEncrypted
	}
	for _, aead := range s.aeads {
		if data, err := aead.Open(nil, nil, stored[1:], s.bound); err == nil {
			return data, nil
		}
	}
	return nil, errNoKey
}

// binding returns what the entries of an agent at a server are bound to, and the
// SHA-256 of that. The SHA-256 is their key in a store, and does not show the client ID.
func binding(server, agent string) (bound []byte, key string) {
	bound = fmt.Appendf(nil, "authsec cache 1\x00%q\x00%q", server, agent)
	sum := sha256.Sum256(bound)
	return bound, hex.EncodeToString(sum[:])
}
