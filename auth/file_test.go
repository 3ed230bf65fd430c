package auth

import (
	"strings"
	"testing"
	"time"
)

const (
	goodHash  = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	goodToken = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
)

func TestParseFile(t *testing.T) {
	f, err := ParseFile("users", []byte(`
# people
users:
  - {name: alice, password: "`+goodHash+`", roles: [operator, dev], namespace: ns1}
  - name: 007
    password: `+goodHash+`
tokens:
  - name: t1
    hash: `+goodToken+`
    user: alice
    expires: 2027-01-31
  - name: t2
    hash: `+goodToken+`
    roles: []
    namespace: ns2
    expires: 2027-01-31T12:00:00+02:00
`))
	if err != nil {
		t.Fatal(err)
	}
	if f.Users() != 2 || f.Tokens() != 2 {
		t.Errorf("%d users, %d tokens", f.Users(), f.Tokens())
	}
	alice := f.users["alice"].id
	if alice.User != "alice" || strings.Join(alice.Roles, " ") != "operator dev" || alice.Namespace != "ns1" || alice.Method != "password" || alice.Provider != "static" {
		t.Errorf("%+v", alice)
	}
	if f.users["007"].id.Role() != "user" {
		t.Errorf("%+v", f.users["007"].id)
	}
	t1, t2 := f.tokens["t1"], f.tokens["t2"]
	if t1.id.User != "alice" || t1.id.Role() != "operator" || t1.id.Namespace != "ns1" || t1.id.Method != "token" || !t1.expires.Equal(time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v %+v", t1, t1.id)
	}
	if t2.id.User != "t2" || len(t2.id.Roles) != 0 || t2.id.Namespace != "ns2" || !t2.expires.Equal(time.Date(2027, 1, 31, 10, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v %+v", t2, t2.id)
	}
	for _, empty := range []string{"", "# nothing\n", "---\n", "null\n", "users:\ntokens: []\n"} {
		if f, err := ParseFile("users", []byte(empty)); err != nil || f.Users()+f.Tokens() != 0 {
			t.Errorf("%q: %v", empty, err)
		}
	}
}

func TestParseFileErrors(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"users: [", `users:1: did not find expected node content`},
		{"a: b: c", `users:1: mapping values are not allowed in this context`},
		{"- a", "users:1: file: must be a mapping with the keys users, tokens"},
		{"users:\nuser: []", `users:2: file: unknown key "user"; known are users, tokens`},
		{"users: []\nusers: []", `users:2: file: key "users" occurs twice`},
		{"users: []\n---\nusers: []", "users:2: only one document is allowed"},
		{"users: alice", "users:1: users: must be a list"},
		{"users:\n  - alice", "users:2: users[0]: must be a mapping with the keys name, password, roles, namespace"},
		{"users:\n  - name: a", "users:2: users[0]: password is missing"},
		{"users:\n  - password: " + goodHash, "users:2: users[0]: name is missing"},
		{"users:\n  - name: [a]\n    password: " + goodHash, "users:2: users[0].name: must be text that is not empty"},
		{"users:\n  - name: ''\n    password: " + goodHash, "users:2: users[0].name: must be text that is not empty"},
		{"users:\n  - name: \"a\\n\"\n    password: " + goodHash, "users:2: users[0].name: must be 1 to 256 bytes of UTF-8 without control characters"},
		{"users:\n  - name: a\n    password: plain", "users:3: users[0].password: must be an argon2id hash ($argon2id$…, see `broker passwd`) or a bcrypt hash ($2b$…)"},
		{"users:\n  - name: a\n    passwd: x\n    password: " + goodHash, `users:3: users[0]: unknown key "passwd"; known are name, password, roles, namespace`},
		{"users:\n  - {name: a, password: " + `"` + goodHash + `"` + "}\n  - name: a\n    password: " + goodHash, `users:3: users[1].name: "a" exists already`},
		{"users:\n  - name: a\n    password: " + goodHash + "\n    roles: x", "users:4: users[0].roles: must be a list"},
		{"users:\n  - name: a\n    password: " + goodHash + "\n    roles: [x, [y]]", "users:4: users[0].roles[1]: must be 1 to 256 bytes of UTF-8 without control characters"},
		{"users:\n  - name: a\n    password: " + goodHash + "\n    roles:\n      - anonymous", `users:5: users[0].roles[0]: "anonymous" is given by the broker, not by the file`},
		{"users:\n  - name: a\n    password: " + goodHash + "\n    namespace:", "users:4: users[0].namespace: must be text that is not empty"},
		{"users:\n  - &a {name: a, password: \"" + goodHash + "\"}\n  - *a", "users:3: users[1]: must be a mapping with the keys name, password, roles, namespace"},
		{"tokens:\n  - name: a b\n    hash: " + goodToken, "users:2: tokens[0].name: must be 1 to 64 letters, digits, '-', '.' or '_'"},
		{"tokens:\n  - name: a\n    hash: x", "users:3: tokens[0].hash: must be sha256: and 64 hexadecimal digits"},
		{"tokens:\n  - name: a", "users:2: tokens[0]: hash is missing"},
		{"tokens:\n  - name: a\n    hash: " + goodToken + "\n    expires: soon", "users:4: tokens[0].expires: must be a date (2027-01-31) or a time (2027-01-31T12:00:00Z)"},
		{"tokens:\n  - name: a\n    hash: " + goodToken + "\n  - name: a\n    hash: " + goodToken, `users:4: tokens[1].name: "a" exists already`},
		{"tokens:\n  - name: a\n    hash: " + goodToken + "\n    user: \"\\t\"", "users:4: tokens[0].user: must be 1 to 256 bytes of UTF-8 without control characters"},
	} {
		_, err := ParseFile("users", []byte(c.in))
		if err == nil || err.Error() != c.want {
			t.Errorf("%q:\n got %v\nwant %s", c.in, err, c.want)
		}
	}
	_, err := ParseFile("u", []byte("users:\n  - name: a\n  - x: 1\n"))
	if want := "u:2: users[0]: password is missing\nu:3: users[1]: unknown key \"x\"; known are name, password, roles, namespace\nu:3: users[1]: name is missing\nu:3: users[1]: password is missing"; err == nil || err.Error() != want {
		t.Errorf("not everything at once:\n%v", err)
	}
	if _, err := LoadFile("testdata/none"); err == nil || !strings.Contains(err.Error(), "testdata/none") {
		t.Error(err)
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte("users:\n  - name: a\n    password: " + goodHash + "\n    roles: [x]\n"))
	f.Add([]byte("tokens:\n  - {name: a, hash: '" + goodToken + "', expires: 2027-01-31}\n"))
	f.Add([]byte("users: [*a, {<<: *b}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := ParseFile("f", data)
		if err == nil && file.Users() > 0 && file.decoy == nil {
			t.Error("no decoy")
		}
	})
}
