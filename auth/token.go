package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
)

// A token is ply_<name>_<43 characters>: the name finds the entry in the file,
// the rest is 256 random bits in base64url. It is stored as "sha256:" and the
// hex digest of the whole: with that much entropy there is nothing to guess, so
// a slow hash would only cost time on every request.
const (
	tokenPrefix = "ply_"
	tokenBytes  = 32
	tokenTail   = 44 // "_" and 32 bytes in base64url without padding
	maxName     = 64
	hashPrefix  = "sha256:"
)

// newToken makes a token for a valid name.
func newToken(name string) string {
	secret := make([]byte, tokenBytes)
	rand.Read(secret) // never fails (crypto/rand)
	return tokenPrefix + name + "_" + base64.RawURLEncoding.EncodeToString(secret)
}

// tokenName takes the name out of what looks like a token.
func tokenName(secret string) (string, bool) {
	rest, ok := strings.CutPrefix(secret, tokenPrefix)
	if !ok || len(rest) <= tokenTail || len(rest) > tokenTail+maxName || rest[len(rest)-tokenTail] != '_' {
		return "", false
	}
	return rest[:len(rest)-tokenTail], true
}

func hashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hashPrefix + hex.EncodeToString(sum[:])
}

func parseTokenHash(s string) ([sha256.Size]byte, error) {
	var sum [sha256.Size]byte
	digest, ok := strings.CutPrefix(s, hashPrefix)
	b, err := hex.DecodeString(digest)
	if !ok || err != nil || len(b) != len(sum) {
		return sum, errors.New("must be sha256: and 64 hexadecimal digits")
	}
	copy(sum[:], b)
	return sum, nil
}

func sameToken(sum *[sha256.Size]byte, token string) bool {
	got := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(got[:], sum[:]) == 1
}

// validName tells whether s can name a token: letters, digits, "-", ".", "_".
func validName(s string) bool {
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_') {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}
