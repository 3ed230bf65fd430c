package auth

import (
	"strings"
	"testing"
)

// cheap keeps the tests quick; the costs are those of the file, not of the code.
var cheap = HashParams{MemoryKiB: 8, Passes: 1, Threads: 1}

func mustHash(t testing.TB, password string) string {
	t.Helper()
	h, err := HashPassword(password, cheap)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHashPassword(t *testing.T) {
	a, b := mustHash(t, "secret"), mustHash(t, "secret")
	if a == b {
		t.Error("two hashes have the same salt")
	}
	if !strings.HasPrefix(a, "$argon2id$v=19$m=8,t=1,p=1$") {
		t.Error(a)
	}
	h, err := parseHash(a)
	if err != nil || !h.verify("secret") || h.verify("Secret") || h.verify("") {
		t.Errorf("%v %v", h, err)
	}
	d, err := HashPassword("x", HashParams{})
	if err != nil || !strings.HasPrefix(d, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("default: %s %v", d, err)
	}
	for _, p := range []string{"", strings.Repeat("x", 1025)} {
		if _, err := HashPassword(p, cheap); err == nil {
			t.Errorf("%d bytes were hashed", len(p))
		}
	}
	if _, err := HashPassword("x", HashParams{Passes: 65}); err == nil {
		t.Error("65 passes")
	}
}

func TestKnownHashes(t *testing.T) {
	for name, c := range map[string]struct{ hash, password string }{
		// Test vector of the reference implementation (phc-winner-argon2, test.c, version 19, argon2id).
		"argon2id": {"$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "password"},
		// From the bcrypt test suite of OpenBSD / John the Ripper.
		"bcrypt": {"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
	} {
		h, err := parseHash(c.hash)
		if err != nil || !h.verify(c.password) || h.verify(c.password+"x") || h.verify("") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseHashRefuses(t *testing.T) {
	salt, key := "c29tZXNhbHQ", "nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	for _, s := range []string{
		"", "plain", "$argon2i$v=19$m=8,t=1,p=1$" + salt + "$" + key, "$argon2id$v=16$m=8,t=1,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=8,t=1$" + salt + "$" + key, "$argon2id$v=19$t=1,m=8,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=7,t=1,p=1$" + salt + "$" + key, "$argon2id$v=19$m=8,t=0,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=8,t=1,p=0$" + salt + "$" + key, "$argon2id$v=19$m=4294967295,t=1,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=8,t=65,p=1$" + salt + "$" + key, "$argon2id$v=19$m=2048,t=1,p=256$" + salt + "$" + key,
		"$argon2id$v=19$m=-8,t=1,p=1$" + salt + "$" + key, "$argon2id$v=19$m=8,t=1,p=1$c2E$" + key,
		"$argon2id$v=19$m=8,t=1,p=1$" + salt + "$AAAA", "$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + key + "=",
		"$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + key + "$", "$2a$05$short", "$2x$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		"$2b$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
	} {
		if _, err := parseHash(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4")
	f.Add("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parseHash(s)
		if err == nil && h.bcrypt == nil && h.params.check() != nil {
			t.Errorf("%q: parameters out of range", s)
		}
	})
}

func TestToken(t *testing.T) {
	a, b := newToken("sensor_7"), newToken("sensor_7")
	if a == b {
		t.Error("two tokens are the same")
	}
	if name, ok := tokenName(a); !ok || name != "sensor_7" {
		t.Errorf("%q: %q", a, name)
	}
	sum, err := parseTokenHash(hashToken(a))
	if err != nil || !sameToken(&sum, a) || sameToken(&sum, b) {
		t.Error(err)
	}
	for _, s := range []string{"", "ply_", "ply_x", "x" + a, "ply_" + a[len(a)-44:], "ply_" + strings.Repeat("n", 65) + a[len(a)-44:], a[:len(a)-44] + "x" + a[len(a)-43:]} {
		if name, ok := tokenName(s); ok {
			t.Errorf("%q is a token named %q", s, name)
		}
	}
	for _, s := range []string{"", "sha256:", "sha256:zz", strings.TrimPrefix(hashToken(a), "sha256:"), hashToken(a) + "00"} {
		if _, err := parseTokenHash(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}
