package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestFailureAtAnyStepKeepsOldOrNewAndNoRest(t *testing.T) {
	t.Parallel()
	for _, at := range []Step{StepCreate, StepWrite, StepSync, StepRename, StepSyncDir} {
		t.Run(string(at), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "f")
			if err := Write(path, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			broken := errors.New("broken disk")
			w := Writer{Fault: func(s Step) error {
				if s == at {
					return broken
				}
				return nil
			}}
			if err := w.Write(path, []byte("new"), 0o600); !errors.Is(err, broken) {
				t.Fatalf("got %v", err)
			}
			want := "old"
			if at == StepSyncDir { // renamed, but not known to last
				want = "new"
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != want {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
			if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
				t.Errorf("left behind: %v, %v", entries, err)
			}
		})
	}
}

func TestModeIsExact(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	if err := Write(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
