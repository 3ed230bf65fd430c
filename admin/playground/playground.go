// Package playground is the page that a broker serves at "/": three clients of
// others, one per protocol, side by side, to see a message cross.
//
// Everything is embedded, nothing is built and nothing is fetched from
// elsewhere. The scripts below assets/vendor are other people's work, named in
// assets/vendor/VENDOR with their version, licence and checksum.
package playground

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed assets
var assets embed.FS

// policy is the page's Content-Security-Policy: only what the broker itself
// serves runs, is shown or is connected to. "self" includes the WebSocket of the
// same host and port (CSP Level 3, section 6.7.2.8).
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// types are the content types of what assets holds; the system's MIME table is
// not asked, it differs between machines.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	"":      "text/plain; charset=utf-8", // VENDOR and the licence texts
}

type file struct {
	content  []byte
	kind     string
	etag     string // strong: of the content (RFC 9110 section 8.8.3)
	caching  string
	document bool
}

// Handler serves the page and its files, with GET and HEAD, at the root of
// whatever it is mounted on ("/", or below http.StripPrefix). It holds no state
// and is safe for concurrent use.
func Handler() http.Handler {
	files := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := files[strings.TrimPrefix(r.URL.Path, "/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		h := w.Header()
		h.Set("Content-Type", f.kind)
		h.Set("ETag", f.etag)
		h.Set("Cache-Control", f.caching)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		if f.document {
			h.Set("Content-Security-Policy", policy)
			h.Set("Cross-Origin-Opener-Policy", "same-origin")
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.content))
	})
}

// load reads all assets by their path below the page; "" is index.html.
func load() map[string]*file {
	files := map[string]*file{}
	err := fs.WalkDir(assets, "assets", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := assets.ReadFile(p)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		ext := path.Ext(p)
		kind, ok := types[ext]
		if !ok {
			kind = types[""]
		}
		f := &file{
			content:  content,
			kind:     kind,
			etag:     `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`,
			caching:  "no-cache", // kept, but asked about: a new broker brings a new page
			document: ext == ".html",
		}
		name := strings.TrimPrefix(p, "assets/")
		if strings.HasPrefix(name, "vendor/") && ext == ".js" {
			f.caching = "public, max-age=31536000, immutable" // the version is in the name
		}
		files[name] = f
		if name == "index.html" {
			files[""] = f
		}
		return nil
	})
	if err != nil {
		panic("playground: embedded files cannot be read: " + err.Error())
	}
	return files
}
