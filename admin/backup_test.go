package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func post(o Options, prepare func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/api/backup", nil)
	if prepare != nil {
		prepare(r)
	}
	w := httptest.NewRecorder()
	Handler(o).ServeHTTP(w, r)
	return w
}

func backups(content string, err error) Backup {
	return Backup{Open: func(context.Context) (io.ReadCloser, int64, error) {
		return io.NopCloser(strings.NewReader(content)), int64(len(content)), err
	}}
}

func TestBackup(t *testing.T) {
	with := func(b Backup) Options { o := options(); o.Backup = b; o.LocalHosts = true; return o }
	proved := backups("all", nil)
	proved.Auth = users{roles: []string{"admin"}}
	asUser := func(r *http.Request) { r.SetBasicAuth("u", "p") }
	from := func(site string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", site)
			r.Header.Set("Origin", "https://elsewhere.example")
		}
	}
	for name, tc := range map[string]struct {
		o       Options
		prepare func(*http.Request)
		code    int
		body    string
	}{
		"good":                    {with(backups("all of it", nil)), nil, 200, "all of it"},
		"off":                     {with(Backup{Refused: "because"}), nil, 403, "no backups here: because"},
		"no room":                 {with(backups("", fmt.Errorf("%w: 5 bytes", ErrNoRoom))), nil, 507, "not enough room for a copy of the store: 5 bytes"},
		"failed":                  {with(backups("", errors.New("secret path"))), nil, 500, "the broker's log says why"},
		"a page of another site":  {with(backups("all", nil)), from("cross-site"), 403, "cross-origin"},
		"nobody, where one needs": {with(proved), nil, 401, "credentials"},
		"a user, where one needs": {with(proved), asUser, 200, "all"},
	} {
		if w := post(tc.o, tc.prepare); w.Code != tc.code || !strings.Contains(w.Body.String(), tc.body) || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: %d %q", name, w.Code, w.Body)
		}
	}
	lacking := with(proved)
	lacking.Role = "keeper"
	if w := post(lacking, asUser); w.Code != 403 {
		t.Errorf("without the role: %d", w.Code)
	}
	if w := get(t, with(backups("all", nil)), "/api/backup", nil); w.Code == 200 {
		t.Errorf("GET: %d", w.Code)
	}
}

// One copy is made at a time.
func TestBackupsDoNotOverlap(t *testing.T) {
	o := options()
	entered, leave := make(chan struct{}), make(chan struct{})
	o.Backup = Backup{Open: func(context.Context) (io.ReadCloser, int64, error) {
		close(entered)
		<-leave
		return io.NopCloser(strings.NewReader("x")), 1, nil
	}}
	h := Handler(o)
	ask := func() int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "http://127.0.0.1/api/backup", nil))
		return w.Code
	}
	first := make(chan int)
	go func() { first <- ask() }()
	<-entered
	if code := ask(); code != http.StatusConflict {
		t.Errorf("the second: %d", code)
	}
	close(leave)
	if code := <-first; code != http.StatusOK {
		t.Errorf("the first: %d", code)
	}
}
