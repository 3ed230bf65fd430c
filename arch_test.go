package parley

import (
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// everything marks a row that may import any package of ours.
const everything = "*"

// arrows is the table of docs/architecture.md: which packages of ours a package
// may import in code that is not a test. A package that is not here fails the
// test: decide where it stands before writing it. "x/*" stands for every package
// right below x that has no row of its own.
var arrows = map[string][]string{
	"":         {},
	"msg":      {},
	"metrics":  {},
	"auth":     {"msg"},
	"config":   {"msg", "auth"},
	"persist":  {"msg"},
	"hub":      {"msg", "auth", "persist", "subproto", "metrics"}, // subproto: docs/adr/0005-hub-and-the-session-contract.md
	"subproto": {"msg", "auth"},
	"gateway":  {"msg", "auth", "subproto", "metrics"},
	"admin":    {"msg", "auth", "metrics"},
	"client":   {"msg"},
	"torture":  {"msg", "torture/history"},

	"persist/*":  {"msg", "persist"},
	"subproto/*": {"msg", "auth", "subproto", "metrics"},
	"gateway/*":  {"subproto"},
	"admin/*":    {"msg", "auth", "metrics"},
	"torture/*":  {"msg"},
	"cmd/broker": {everything},

	// Suites and doubles for tests; testOnly keeps them out of the product.
	"persist/persisttest":   {everything},
	"subproto/subprototest": {everything},
	"e2e":                   {everything},
}

// testOnly may be imported by tests and by each other only.
var testOnly = []string{"persist/persisttest", "subproto/subprototest", "e2e"}

// owners says which packages may import a module of somebody else. A module
// that is not here fails the test: say who owns it first.
var owners = map[string][]string{
	"github.com/mochi-mqtt/server/v2":      {"subproto/mqtt", "client"},
	"github.com/gammazero/nexus/v3":        {"subproto/wamp", "client"},
	"go.etcd.io/bbolt":                     {"persist/bolt"},
	"github.com/ugorji/go/codec":           {"msg"},
	"github.com/prometheus/client_golang":  {"metrics"},
	"go.yaml.in/yaml/v3":                   {"config", "auth"},
	"github.com/spf13/cobra":               {"cmd/broker"},
	"github.com/spf13/pflag":               {"cmd/broker"},
	"github.com/coder/websocket":           {"gateway", "client", "torture"},
	"github.com/centrifugal/centrifuge-go": {"client"},
	"github.com/eclipse/paho.golang":       {"client"},
	"golang.org/x/crypto":                  {"auth", "cmd/broker"},
	"golang.org/x/term":                    {"cmd/broker"},
	"golang.org/x/time":                    {"gateway", "auth"},
	"golang.org/x/sys":                     {"gateway", "persist/bolt", "cmd/broker"},
}

const module = "parley"

func TestImportArrows(t *testing.T) {
	for dir, imports := range productImports(t) {
		allowed, ok := row(dir)
		if !ok {
			t.Errorf("package %q has no row in the import table (arch_test.go)", dir)
			continue
		}
		for _, imp := range imports {
			ours, isOurs := strings.CutPrefix(imp.path, module+"/")
			if !isOurs {
				continue
			}
			if slices.Contains(testOnly, ours) && !slices.Contains(testOnly, dir) {
				t.Errorf("%s imports %s, which is for tests only", imp.file, imp.path)
			}
			if !slices.Contains(allowed, everything) && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s; package %s may import %v", imp.file, imp.path, dir, allowed)
			}
		}
	}
}

func TestThirdPartyOwners(t *testing.T) {
	for dir, imports := range productImports(t) {
		if slices.Contains(testOnly, dir) {
			continue
		}
		for _, imp := range imports {
			first, _, _ := strings.Cut(imp.path, "/")
			if !strings.Contains(first, ".") {
				continue // standard library, or ours
			}
			owned := false
			for m, may := range owners {
				if !within(imp.path, m) {
					continue
				}
				owned = true
				if !slices.Contains(may, dir) {
					t.Errorf("%s imports %s; only %v may", imp.file, imp.path, may)
				}
			}
			if !owned {
				t.Errorf("%s imports %s, a module without a row in owners (arch_test.go)", imp.file, imp.path)
			}
		}
	}
}

// TestRowsInUse keeps the table honest: a row without a package is stale.
func TestRowsInUse(t *testing.T) {
	have := productImports(t)
	for name := range arrows {
		if name == "" || name == "e2e" || strings.HasSuffix(name, "/*") {
			continue
		}
		if _, ok := have[name]; !ok {
			if entries, err := os.ReadDir(filepath.FromSlash(name)); err == nil && len(entries) > 0 {
				continue // a folder that so far holds only sub-packages or assets
			}
			t.Errorf("row %q names no package", name)
		}
	}
}

type goImport struct{ file, path string }

// productImports reads the imports of all files that are not tests, whatever
// the platform, by package folder. bench is a module of its own.
func productImports(t *testing.T) map[string][]goImport {
	t.Helper()
	found := map[string][]goImport{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			name := d.Name()
			if path != "." && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata" || path == "bench") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		for _, group := range f.Comments {
			for _, c := range group.List {
				if x, err := constraint.Parse(c.Text); err == nil && c.Pos() < f.Package && x.String() == "deps" {
					return nil // the list of modules, never compiled
				}
			}
		}
		dir := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), ".")
		if found[dir] == nil {
			found[dir] = []goImport{} // a package without imports needs a row too
		}
		for _, spec := range f.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			found[dir] = append(found[dir], goImport{filepath.ToSlash(path), p})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 5 {
		t.Fatalf("found only %d packages: is the test run in the repository's root?", len(found))
	}
	return found
}

func row(dir string) ([]string, bool) {
	if r, ok := arrows[dir]; ok {
		return r, true
	}
	i := strings.LastIndexByte(dir, '/')
	if i < 0 {
		return nil, false
	}
	r, ok := arrows[dir[:i]+"/*"]
	return r, ok
}

func within(path, module string) bool {
	return path == module || strings.HasPrefix(path, module+"/")
}
