package mqtt

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// How many statements each section has, from appendix B of the specifications:
// "section:count". They are numbered from 1 but for 2.2.1 of MQTT 5, which
// begins at 2.
var conformanceCounts = map[string]string{
	"MQTT 3.1.1": `1.5.3:3 2.2.2:2 2.3.1:7
		3.1.0:2 3.1.2:24 3.1.3:11 3.1.4:5 3.2.0:1 3.2.2:6 3.3.1:12 3.3.2:3 3.3.4:1 3.3.5:2 3.6.1:1
		3.8.1:1 3.8.3:4 3.8.4:6 3.9.3:2 3.10.1:1 3.10.3:2 3.10.4:6 3.12.4:1 3.14.1:1 3.14.4:3
		4.1.0:2 4.3.1:1 4.3.2:2 4.3.3:2 4.4.0:1 4.5.0:2 4.6.0:6 4.7.1:3 4.7.2:1 4.7.3:4 4.8.0:2
		6.0.0:4 7.0.0:2 7.1.1:1 7.1.2:1`,
	"MQTT 5.0": `1.5.4:3 1.5.5:1 1.5.7:1 2.1.3:1 2.2.1:5 2.2.2:1
		3.1.0:2 3.1.2:30 3.1.3:12 3.1.4:6 3.2.0:2 3.2.2:22 3.3.1:13 3.3.2:20 3.3.4:10 3.4.2:3 3.5.2:3
		3.6.1:1 3.6.2:3 3.7.2:3 3.8.1:1 3.8.3:5 3.8.4:8 3.9.2:2 3.9.3:2 3.10.1:1 3.10.3:2 3.10.4:6
		3.11.2:2 3.11.3:2 3.12.4:1 3.14.0:1 3.14.1:1 3.14.2:4 3.14.4:3 3.15.1:1 3.15.2:3
		4.1.0:2 4.2.0:1 4.3.1:1 4.3.2:5 4.3.3:13 4.4.0:2 4.5.0:2 4.6.0:6 4.7.0:1 4.7.1:2 4.7.2:1
		4.7.3:4 4.8.2:6 4.9.0:3 4.12.0:7 4.12.1:2 4.13.1:1 4.13.2:1 6.0.0:4`,
}

// Why a statement may stand without a test.
var conformanceReasons = []string{
	"- client", "- with enhanced authentication", "- one copy is sent", "- the broker connects to no other server",
	"- the broker sends no user properties in ", "- QoS 1 and 2 are supported", "- retained messages are supported",
}

type statement struct{ id, text, shown string }

// readConformance returns the statements of each specification, in their order.
func readConformance(t *testing.T) map[string][]statement {
	t.Helper()
	text, err := os.ReadFile("conformance.txt")
	if err != nil {
		t.Fatal(err)
	}
	lists, spec := map[string][]statement{}, ""
	for i, line := range strings.Split(string(text), "\n") {
		switch name, heading := strings.CutPrefix(line, "== "); {
		case heading:
			spec = name
		case line == "" || strings.HasPrefix(line, "#"):
		default:
			f := strings.Split(line, " | ")
			if spec == "" || len(f) != 3 || f[0] == "" || strings.TrimSpace(f[1]) == "" || strings.TrimSpace(f[2]) == "" {
				t.Fatalf("conformance.txt:%d is no line of three columns: %q", i+1, line)
			}
			lists[spec] = append(lists[spec], statement{f[0], f[1], f[2]})
		}
	}
	return lists
}

// conformanceIDs expands a line of conformanceCounts.
func conformanceIDs(t *testing.T, counts string) (ids []string) {
	t.Helper()
	for _, f := range strings.Fields(counts) {
		section, n, _ := strings.Cut(f, ":")
		count, err := strconv.Atoi(n)
		if err != nil {
			t.Fatal(err)
		}
		first := 1
		if section == "2.2.1" {
			first = 2
		}
		for i := range count {
			ids = append(ids, fmt.Sprintf("MQTT-%s-%d", section, first+i))
		}
	}
	return ids
}

// The list has each statement of both specifications once and in order, and
// each has a test that exists or a reason that is known.
func TestConformanceListIsComplete(t *testing.T) {
	lists := readConformance(t)
	if len(lists) != len(conformanceCounts) {
		t.Errorf("%d specifications, want %d", len(lists), len(conformanceCounts))
	}
	tests := packageTests(t)
	for spec, counts := range conformanceCounts {
		var got []string
		for _, s := range lists[spec] {
			got = append(got, s.id)
			s.check(t, spec, tests)
		}
		want := conformanceIDs(t, counts)
		for i := range max(len(got), len(want)) {
			if i >= len(got) || i >= len(want) || got[i] != want[i] {
				t.Errorf("%s: statement %d of %d is %v, want %v", spec, i+1, len(want), got[min(i, len(got)):min(i+1, len(got))], want[min(i, len(want)):min(i+1, len(want))])
				break
			}
		}
	}
}

// packageTests finds the tests of each package that the list may name, with
// what its test files have as string literals, where subtests get their names.
func packageTests(t *testing.T) map[string]testFuncs {
	t.Helper()
	root := filepath.Join("..", "..")
	all := map[string]testFuncs{}
	for name, dir := range map[string]string{
		"": ".", "e2e": filepath.Join(root, "e2e"), "msg": filepath.Join(root, "msg"),
		"hub": filepath.Join(root, "hub"), "gateway": filepath.Join(root, "gateway"),
	} {
		all[name] = parseTests(t, dir)
	}
	return all
}

type testFuncs struct{ funcs, literals map[string]bool }

func parseTests(t *testing.T, dir string) testFuncs {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("test files of %s: %v", dir, err)
	}
	found := testFuncs{map[string]bool{}, map[string]bool{}}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && strings.HasPrefix(n.Name.Name, "Test") {
					found.funcs[n.Name.Name] = true
				}
			case *ast.BasicLit:
				if s, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
					found.literals[s] = true
				}
			}
			return true
		})
	}
	return found
}

func (s statement) check(t *testing.T, spec string, tests map[string]testFuncs) {
	t.Helper()
	if strings.HasPrefix(s.shown, "-") {
		if !slices.ContainsFunc(conformanceReasons, func(r string) bool {
			return s.shown == r || strings.HasSuffix(r, " ") && strings.HasPrefix(s.shown, r)
		}) {
			t.Errorf("%s %s: %q is no known reason", spec, s.id, s.shown)
		}
		return
	}
	for _, name := range splitTests(s.shown) {
		pkg, test, dotted := strings.Cut(name, ".Test")
		if dotted {
			test = "Test" + test
		} else {
			pkg, test = "", name
		}
		test, sub, _ := strings.Cut(test, "/")
		in, known := tests[pkg]
		if !known || !in.funcs[test] {
			t.Errorf("%s %s: there is no test %s", spec, s.id, name)
		}
		if sub != "" && !in.literals[sub] {
			t.Errorf("%s %s: nothing in the package's tests is called %q", spec, s.id, sub)
		}
	}
}

// splitTests takes a list apart at its commas, but for those within the name of
// a subtest: behind those of the list there is a test.
func splitTests(list string) (names []string) {
	for _, part := range strings.Split(list, ", ") {
		if n := len(names); n > 0 && !testName.MatchString(part) {
			names[n-1] += ", " + part
			continue
		}
		names = append(names, part)
	}
	return names
}

var (
	testName  = regexp.MustCompile(`^([a-z0-9]+\.)?Test[A-Z]`)
	citation  = regexp.MustCompile(`MQTT-[0-9]+\.[0-9]+\.[0-9]+-[0-9]+`)
	shortMore = regexp.MustCompile(`^(?:, -[0-9]+)+`)
)

// Every id that the engine and its tests cite is a statement of one of the
// specifications.
func TestConformanceCitations(t *testing.T) {
	known := map[string]bool{}
	for _, counts := range conformanceCounts {
		for _, id := range conformanceIDs(t, counts) {
			known[id] = true
		}
	}
	root := filepath.Join("..", "..")
	cited := 0
	for _, dir := range []string{".", filepath.Join(root, "e2e"), filepath.Join(root, "hub"), filepath.Join(root, "msg"), filepath.Join(root, "bench", "load")} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range citationsIn(string(text)) {
				cited++
				if !known[id] {
					t.Errorf("%s cites [%s], which is in neither specification", name, id)
				}
			}
		}
	}
	if cited < 100 {
		t.Errorf("%d citations found", cited)
	}
}

// citationsIn finds ids, "MQTT-4.7.1-1" and in the form "[MQTT-4.7.1-1, -2]".
func citationsIn(text string) (ids []string) {
	for _, at := range citation.FindAllStringIndex(text, -1) {
		id := text[at[0]:at[1]]
		ids = append(ids, id)
		section := id[:strings.LastIndex(id, "-")]
		for _, more := range strings.Split(shortMore.FindString(text[at[1]:]), ", ") {
			if more != "" {
				ids = append(ids, section+more)
			}
		}
	}
	return ids
}
