package playground

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, method, path string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := b.ReadFrom(r.Body); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestFiles(t *testing.T) {
	tests := []struct{ path, kind, caching string }{
		{"/", "text/html; charset=utf-8", "no-cache"},
		{"/index.html", "text/html; charset=utf-8", "no-cache"},
		{"/playground.css", "text/css; charset=utf-8", "no-cache"},
		{"/app.js", "text/javascript; charset=utf-8", "no-cache"},
		{"/icon.svg", "image/svg+xml", "no-cache"},
		{"/vendor/mqtt-5.16.0.min.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"},
		{"/vendor/VENDOR", "text/plain; charset=utf-8", "no-cache"},
		{"/vendor/LICENSE.mqtt", "text/plain; charset=utf-8", "no-cache"},
	}
	for _, tt := range tests {
		r := get(t, http.MethodGet, tt.path)
		if r.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", tt.path, r.StatusCode)
			continue
		}
		for name, want := range map[string]string{
			"Content-Type": tt.kind, "Cache-Control": tt.caching, "X-Content-Type-Options": "nosniff",
		} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", tt.path, name, got, want)
			}
		}
		if body(t, r) == "" {
			t.Errorf("%s: empty", tt.path)
		}
	}
}

func TestUnknownAndMethods(t *testing.T) {
	for _, path := range []string{"/nothing", "/vendor/", "/vendor", "/assets/index.html", "/../playground.go"} {
		if r := get(t, http.MethodGet, path); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: status %d, want 404", path, r.StatusCode)
		}
	}
	r := get(t, http.MethodPost, "/")
	if r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: status %d, Allow %q", r.StatusCode, r.Header.Get("Allow"))
	}
	r = get(t, http.MethodHead, "/")
	if r.StatusCode != http.StatusOK || body(t, r) != "" {
		t.Errorf("HEAD: status %d, or a body", r.StatusCode)
	}
}

// A revalidation is answered without the content (RFC 9110 section 13.1.2).
func TestETag(t *testing.T) {
	first := get(t, http.MethodGet, "/")
	tag := first.Header.Get("ETag")
	if !regexp.MustCompile(`^"[A-Za-z0-9_-]{16}"$`).MatchString(tag) {
		t.Fatalf("ETag %q", tag)
	}
	again := get(t, http.MethodGet, "/", "If-None-Match", tag)
	if again.StatusCode != http.StatusNotModified || body(t, again) != "" {
		t.Errorf("same tag: status %d", again.StatusCode)
	}
	if r := get(t, http.MethodGet, "/", "If-None-Match", `"other"`); r.StatusCode != http.StatusOK {
		t.Errorf("other tag: status %d", r.StatusCode)
	}
	if other := get(t, http.MethodGet, "/app.js").Header.Get("ETag"); other == tag {
		t.Error("two files share a tag")
	}
}

// The policy allows no inline script or style, so the page must have none.
func TestContentSecurityPolicy(t *testing.T) {
	r := get(t, http.MethodGet, "/")
	csp := r.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("policy %q lacks %q", csp, want)
		}
	}
	if strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") {
		t.Errorf("policy %q is not strict", csp)
	}
	page := body(t, r)
	for name, pattern := range map[string]string{
		"inline script":        `<script(?:\s+(?:type|defer|async)(?:="[^"]*")?)*\s*>`,
		"inline style":         `<style|\sstyle=`,
		"inline event handler": `\son[a-z]+=`,
		"foreign address":      `(?:src|href)="(?:https?:)?//`,
	} {
		if m := regexp.MustCompile(pattern).FindString(page); m != "" {
			t.Errorf("the page has an %s: %s", name, m)
		}
	}
}

// Everything the page and its modules refer to is there.
func TestReferences(t *testing.T) {
	files := load()
	pattern := regexp.MustCompile(`(?:src|href)="([^"#]+)"|from "\./([^"]+)"`)
	seen := 0
	for name, f := range files {
		if strings.HasPrefix(name, "vendor/") {
			continue
		}
		for _, m := range pattern.FindAllStringSubmatch(string(f.content), -1) {
			seen++
			if ref := m[1] + m[2]; files[ref] == nil {
				t.Errorf("%s refers to %q, which does not exist", name, ref)
			}
		}
	}
	if seen < 8 {
		t.Errorf("only %d references found: is the pattern still right?", seen)
	}
}

// Every label names a control, every control has a name, no id is used twice.
func TestAccessibleNames(t *testing.T) {
	page := string(load()["index.html"].content)
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(`\sid="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if ids[m[1]] {
			t.Errorf("id %q is used twice", m[1])
		}
		ids[m[1]] = true
	}
	labelled := map[string]bool{}
	for _, m := range regexp.MustCompile(`\s(for|aria-labelledby|aria-describedby|aria-controls)="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		for id := range strings.FieldsSeq(m[2]) {
			if !ids[id] {
				t.Errorf("%s=%q names no element", m[1], id)
			}
			labelled[id] = labelled[id] || m[1] == "for"
		}
	}
	for _, m := range regexp.MustCompile(`<(?:input|select|textarea)\s[^>]*>`).FindAllString(page, -1) {
		id := regexp.MustCompile(`\sid="([^"]+)"`).FindStringSubmatch(m)
		if id == nil || !labelled[id[1]] {
			t.Errorf("no label for %s", m)
		}
	}
}

// VENDOR lists every script of others with its true checksum, and each has its
// licence text.
func TestVendor(t *testing.T) {
	files := load()
	listed := map[string]bool{"vendor/VENDOR": true}
	page := string(files["index.html"].content)
	s := bufio.NewScanner(bytes.NewReader(files["vendor/VENDOR"].content))
	for s.Scan() {
		if strings.HasPrefix(s.Text(), "#") {
			continue
		}
		row := strings.Split(s.Text(), "\t")
		if len(row) != 7 {
			t.Fatalf("row %q has %d fields, want 7", s.Text(), len(row))
		}
		name, version, licence, file, text, sum := row[0], row[1], row[2], "vendor/"+row[4], "vendor/"+row[5], row[6]
		listed[file], listed[text] = true, true
		f := files[file]
		if f == nil {
			t.Errorf("%s: %s is missing", name, file)
			continue
		}
		if got := sha256.Sum256(f.content); hex.EncodeToString(got[:]) != sum {
			t.Errorf("%s: checksum of %s is %x", name, file, got)
		}
		if !strings.Contains(file, version) {
			t.Errorf("%s: file name %s lacks the version %s; it is cached for ever", name, file, version)
		}
		if !strings.Contains(page, `src="`+file+`"`) {
			t.Errorf("%s: the page does not use %s", name, file)
		}
		if l := files[text]; l == nil || licence != "MIT" || !bytes.Contains(l.content, []byte("Permission is hereby granted")) {
			t.Errorf("%s: %s does not hold the text of licence %s", name, text, licence)
		}
	}
	for name := range files {
		if strings.HasPrefix(name, "vendor/") && !listed[name] {
			t.Errorf("%s is not listed in VENDOR", name)
		}
	}
}
