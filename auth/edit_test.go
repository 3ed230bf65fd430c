package auth

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"parley/msg"
)

func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func login(t testing.TB, path string, c Credentials) (*Identity, error) {
	t.Helper()
	s, err := NewStatic(path, StaticOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return answerOf(s, c)
}

func answerOf(a Authenticator, c Credentials) (*Identity, error) {
	got := make(chan answer, 1)
	a.Authenticate(context.Background(), c, func(id *Identity, err error) { got <- answer{id, err} })
	r := <-got
	return r.id, r.err
}

func TestSetUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	created, err := SetUser(path, UserChange{Name: "alice", Password: "one", Hash: cheap, Roles: &[]string{"operator"}})
	if err != nil || !created {
		t.Fatal(created, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if id, err := login(t, path, Credentials{User: "alice", Secret: "one"}); err != nil || id.Role() != "operator" {
		t.Errorf("%+v %v", id, err)
	}
	created, err = SetUser(path, UserChange{Name: "alice", Password: "two", Hash: cheap})
	if err != nil || created {
		t.Fatal(created, err)
	}
	if _, err := login(t, path, Credentials{User: "alice", Secret: "one"}); !errors.Is(err, msg.ErrBadCredentials) {
		t.Error("the old password still works", err)
	}
	if id, err := login(t, path, Credentials{User: "alice", Secret: "two"}); err != nil || id.Role() != "operator" {
		t.Errorf("%+v %v", id, err)
	}
	ns := "ns1"
	if _, err := SetUser(path, UserChange{Name: "alice", Roles: &[]string{}, Namespace: &ns}); err != nil {
		t.Fatal(err)
	}
	if id, err := login(t, path, Credentials{User: "alice", Secret: "two"}); err != nil || id.Role() != "user" || id.Namespace != "ns1" {
		t.Errorf("%+v %v", id, err)
	}
	ns = ""
	if _, err := SetUser(path, UserChange{Name: "alice", Namespace: &ns}); err != nil || strings.Contains(read(t, path), "namespace") {
		t.Error(err, read(t, path))
	}
	if err := RemoveUser(path, "alice"); err != nil {
		t.Fatal(err)
	}
	if err := RemoveUser(path, "alice"); !errors.Is(err, ErrNoEntry) {
		t.Error(err)
	}
	if _, err := SetUser(path, UserChange{Name: "bob"}); err == nil {
		t.Error("a user without a password")
	}
	if _, err := SetUser(path, UserChange{Name: "b\nb", Password: "x", Hash: cheap}); err == nil {
		t.Error("a name with a newline")
	}
}

// TestEditKeepsTheRest: comments, order and other entries survive.
func TestEditKeepsTheRest(t *testing.T) {
	before := `# who may come in
users: # people
  # the boss
  - name: alice # since 2020
    password: ` + goodHash + ` # changed in May
    roles: [operator]
  - name: bob
    password: ` + goodHash + `
# machines
tokens:
  - name: t1
    hash: ` + goodToken + `
`
	path := write(t, before)
	if _, err := SetUser(path, UserChange{Name: "alice", Password: "x", Hash: cheap}); err != nil {
		t.Fatal(err)
	}
	after := read(t, path)
	was, is := strings.Split(before, "\n"), strings.Split(after, "\n")
	if len(was) != len(is) {
		t.Fatalf("lines came or went:\n%s", after)
	}
	for i := range was {
		if i == 4 {
			if !strings.HasSuffix(is[i], " # changed in May") || is[i] == was[i] {
				t.Errorf("line 5: %s", is[i])
			}
		} else if was[i] != is[i] {
			t.Errorf("line %d was %q, is %q", i+1, was[i], is[i])
		}
	}
	if _, err := CreateToken(path, NewToken{Name: "t2"}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); !strings.HasPrefix(got, after) {
		t.Errorf("not only at the end:\n%s", got)
	}
	only := write(t, "# only a comment\n")
	if _, err := SetUser(only, UserChange{Name: "a", Password: "x", Hash: cheap}); err != nil || !strings.HasPrefix(read(t, only), "# only a comment\n") {
		t.Error(err, read(t, only))
	}
	flowed := write(t, "users: []\ntokens:\n")
	if _, err := CreateToken(flowed, NewToken{Name: "a"}); err != nil {
		t.Error(err)
	}
	if _, err := SetUser(flowed, UserChange{Name: "a", Password: "x", Hash: cheap}); err != nil || !strings.HasPrefix(read(t, flowed), "users:\n  - name: a\n") {
		t.Error(err, read(t, flowed))
	}
}

func TestCreateToken(t *testing.T) {
	path := write(t, "users:\n  - name: alice\n    password: "+goodHash+"\n    roles: [operator]\n")
	expires := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	token, err := CreateToken(path, NewToken{Name: "ci", User: "alice", Expires: expires})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(token, "ply_ci_") || len(token) != len("ply_ci_")+43 || strings.Contains(read(t, path), token) {
		t.Errorf("%q\n%s", token, read(t, path))
	}
	if info, _ := os.Stat(path); info.Mode() != 0o600 {
		t.Error(info.Mode())
	}
	if id, err := login(t, path, Credentials{Secret: token}); err != nil || id.User != "alice" || id.Role() != "operator" {
		t.Errorf("%+v %v", id, err)
	}
	if _, err := CreateToken(path, NewToken{Name: "ci"}); !errors.Is(err, ErrEntryExists) {
		t.Error(err)
	}
	if _, err := CreateToken(path, NewToken{Name: "c i"}); err == nil {
		t.Error("a name with a space")
	}
	if err := RemoveToken(path, "ci"); err != nil {
		t.Error(err)
	}
	if _, err := login(t, path, Credentials{Secret: token}); !errors.Is(err, msg.ErrBadCredentials) {
		t.Error(err)
	}
}

func TestEditRefusesBrokenFile(t *testing.T) {
	path := write(t, "users:\n  - name: a\n")
	before := read(t, path)
	if _, err := CreateToken(path, NewToken{Name: "x"}); err == nil || !strings.Contains(err.Error(), path+":2:") {
		t.Error(err)
	}
	if read(t, path) != before {
		t.Error("the file was changed")
	}
	if _, err := CreateToken(filepath.Join(path, "x"), NewToken{Name: "x"}); err == nil {
		t.Error("a file below a file")
	}
	if _, err := CreateToken(filepath.Join(t.TempDir(), "none", "x"), NewToken{Name: "x"}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".users.*")); len(left) > 0 {
		t.Error("left over", left)
	}
}

func TestEditFollowsLink(t *testing.T) {
	path := write(t, "")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := CreateToken(link, NewToken{Name: "x"}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 || !strings.Contains(read(t, path), "name: x") {
		t.Error(info.Mode(), err)
	}
}
