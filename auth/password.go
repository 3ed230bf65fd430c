package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// HashParams is the cost of an argon2id hash (RFC 9106 section 3.1). A zero
// field means the default, which is the smallest of the settings that the OWASP
// password storage cheat sheet calls equivalent: a reconnect storm has to pay it.
type HashParams struct {
	MemoryKiB uint32 // 8 × Threads to 262,144; default 19,456
	Passes    uint32 // 1 to 64; default 2
	Threads   uint8  // 1 to 16; default 1
}

const (
	maxMemoryKiB  = 256 << 10
	maxPasses     = 64
	maxThreads    = 16
	maxBcryptCost = 16
	saltBytes     = 16
	keyBytes      = 32
	// maxPassword bounds what is hashed; more is no better password.
	maxPassword = 1024
)

var b64 = base64.RawStdEncoding

// HashPassword makes a hash in the PHC string format,
// $argon2id$v=19$m=19456,t=2,p=1$salt$key. Empty passwords and those over 1,024
// bytes are refused.
func HashPassword(password string, p HashParams) (string, error) {
	if password == "" || len(password) > maxPassword {
		return "", fmt.Errorf("a password has 1 to %d bytes", maxPassword)
	}
	p = p.withDefaults()
	if err := p.check(); err != nil {
		return "", err
	}
	salt := make([]byte, saltBytes)
	rand.Read(salt) // never fails (crypto/rand)
	key := argon2.IDKey([]byte(password), salt, p.Passes, p.MemoryKiB, p.Threads, keyBytes)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		p.MemoryKiB, p.Passes, p.Threads, b64.EncodeToString(salt), b64.EncodeToString(key)), nil
}

func (p HashParams) withDefaults() HashParams {
	if p.MemoryKiB == 0 {
		p.MemoryKiB = 19456
	}
	if p.Passes == 0 {
		p.Passes = 2
	}
	if p.Threads == 0 {
		p.Threads = 1
	}
	return p
}

// check bounds what one verification may cost, so that a file cannot stop the
// broker by mistake.
func (p HashParams) check() error {
	switch {
	case p.Threads < 1 || p.Threads > maxThreads:
		return fmt.Errorf("p must be 1 to %d", maxThreads)
	case p.Passes < 1 || p.Passes > maxPasses:
		return fmt.Errorf("t must be 1 to %d", maxPasses)
	case p.MemoryKiB < 8*uint32(p.Threads) || p.MemoryKiB > maxMemoryKiB:
		return fmt.Errorf("m must be 8 × p to %d", maxMemoryKiB)
	}
	return nil
}

// passwordHash is a parsed hash: argon2id, or bcrypt for files taken over from
// elsewhere.
type passwordHash struct {
	params    HashParams
	salt, key []byte
	bcrypt    []byte // the whole string; nil = argon2id
}

func parseHash(s string) (*passwordHash, error) {
	switch {
	case strings.HasPrefix(s, "$argon2id$"):
		return parseArgon2(s)
	case strings.HasPrefix(s, "$2a$"), strings.HasPrefix(s, "$2b$"), strings.HasPrefix(s, "$2y$"):
		cost, err := bcrypt.Cost([]byte(s))
		if err != nil || len(s) != 60 {
			return nil, errors.New("not a bcrypt hash")
		}
		if cost > maxBcryptCost {
			return nil, fmt.Errorf("bcrypt cost is over %d", maxBcryptCost)
		}
		return &passwordHash{bcrypt: []byte(s)}, nil
	}
	return nil, errors.New("must be an argon2id hash ($argon2id$…, see `broker passwd`) or a bcrypt hash ($2b$…)")
}

func parseArgon2(s string) (*passwordHash, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[2] != "v=19" {
		return nil, errors.New("must be $argon2id$v=19$m=…,t=…,p=…$salt$key")
	}
	h := &passwordHash{}
	var err error
	if h.params, err = parseParams(parts[3]); err != nil {
		return nil, err
	}
	if h.salt, err = b64.DecodeString(parts[4]); err != nil || len(h.salt) < 8 || len(h.salt) > 64 {
		return nil, errors.New("salt must be 8 to 64 bytes in base64 without padding")
	}
	if h.key, err = b64.DecodeString(parts[5]); err != nil || len(h.key) < 16 || len(h.key) > 64 {
		return nil, errors.New("key must be 16 to 64 bytes in base64 without padding")
	}
	return h, nil
}

func parseParams(s string) (HashParams, error) {
	bad := errors.New("parameters must be m=…,t=…,p=…")
	var n [3]uint64
	fields := strings.Split(s, ",")
	if len(fields) != len(n) {
		return HashParams{}, bad
	}
	for i, name := range []string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(fields[i], name)
		u, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil {
			return HashParams{}, bad
		}
		n[i] = u
	}
	p := HashParams{MemoryKiB: uint32(n[0]), Passes: uint32(n[1]), Threads: uint8(min(n[2], 255))}
	return p, p.check()
}

// verify takes tens of milliseconds and, for argon2id, the memory of its
// parameters.
func (h *passwordHash) verify(password string) bool {
	if password == "" || len(password) > maxPassword {
		password = "" // still pays the cost; no stored hash is of an empty password
	}
	if h.bcrypt != nil {
		return bcrypt.CompareHashAndPassword(h.bcrypt, []byte(password)) == nil && password != ""
	}
	key := argon2.IDKey([]byte(password), h.salt, h.params.Passes, h.params.MemoryKiB, h.params.Threads, uint32(len(h.key)))
	return subtle.ConstantTimeCompare(key, h.key) == 1 && password != ""
}
