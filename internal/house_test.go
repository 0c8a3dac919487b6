package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// The house rules that a machine can check.
const (
	maxFileLines     = 800 // but tests, tables and generated code
	maxFunctionLines = 100 // hard look beyond 70
)

// impure are the calls that rules (layer 2) must not make: they decide from
// their arguments alone.
var impure = map[string]bool{
	"time.Now": true, "time.Sleep": true, "time.After": true, "time.AfterFunc": true, "time.NewTimer": true, "time.NewTicker": true, "time.Since": true,
	"os.Open": true, "os.ReadFile": true, "os.Create": true, "os.WriteFile": true, "os.Getenv": true, "net.Dial": true, "net.Listen": true,
}

func TestHouseRules(t *testing.T) {
	t.Parallel()
	level, _ := readLattice(t)
	for _, root := range []string{".", "../config", "../cmd", "../zones"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
				return err
			}
			room := filepath.ToSlash(filepath.Dir(path))
			checkHouse(t, path, level[room] == 2 && room != ".")
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func checkHouse(t *testing.T, path string, pure bool) {
	t.Helper()
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, path, nil, parser.ParseComments)
	if err != nil {
		t.Error(err)
		return
	}
	inTest := strings.HasSuffix(path, "_test.go")
	virtual := false // the file's tests run in virtual time
	for _, i := range f.Imports {
		virtual = virtual || i.Path.Value == `"testing/synctest"`
	}
	line := func(p token.Pos) int { return set.Position(p).Line }
	commented := map[int]bool{} // lines with a comment on them
	for _, g := range f.Comments {
		for _, c := range g.List {
			commented[line(c.Pos())] = true
		}
	}
	if lines := line(f.End()); lines > maxFileLines && !inTest {
		t.Errorf("%s: %d lines", path, lines)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				t.Errorf("%s:%d: init is wiring that nobody can read", path, line(n.Pos()))
			}
			if size := line(n.End()) - line(n.Pos()); size > maxFunctionLines && !inTest {
				t.Errorf("%s:%d: %s has %d lines", path, line(n.Pos()), n.Name.Name, size)
			}
		case *ast.GoStmt:
			// sync.WaitGroup.Go is let through: dns/signer and dns/attest share
			// their work out with it, and wait for it within the call.
			if pure && !inTest {
				t.Errorf("%s:%d: a rule starts a goroutine", path, line(n.Pos()))
			}
		case *ast.SelectorExpr:
			if call := called(n); call == "time.Sleep" && inTest && !virtual {
				t.Errorf("%s:%d: a test sleeps", path, line(n.Pos()))
			} else if !inTest {
				checkCall(t, path, line(n.Pos()), call, pure, commented)
			}
		}
		return true
	})
}

// called is the selector as written, such as "time.Now".
func called(sel *ast.SelectorExpr) string {
	if pkg, ok := sel.X.(*ast.Ident); ok {
		return pkg.Name + "." + sel.Sel.Name
	}
	return ""
}

func checkCall(t *testing.T, path string, line int, call string, pure bool, commented map[int]bool) {
	t.Helper()
	switch {
	case call == "context.Background" && !commented[line] && !commented[line-1]:
		t.Errorf("%s:%d: context.Background without a comment that says why", path, line)
	case pure && impure[call]:
		t.Errorf("%s:%d: a rule calls %s", path, line, call)
	}
}
