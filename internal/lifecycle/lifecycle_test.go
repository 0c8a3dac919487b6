package lifecycle

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

type part struct {
	name string
	log  *[]string
	fail error
}

func (p part) Start(context.Context) error {
	*p.log = append(*p.log, "start "+p.name)
	return p.fail
}

func (p part) Stop(context.Context) error {
	*p.log = append(*p.log, "stop "+p.name)
	return p.fail
}

func TestStackStopsInReverseWhatWasStarted(t *testing.T) {
	t.Parallel()
	var log []string
	var s Stack
	broken := errors.New("broken")
	for _, p := range []part{{name: "a", log: &log}, {name: "b", log: &log}} {
		if err := s.Start(t.Context(), p.name, p); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Start(t.Context(), "c", part{name: "c", log: &log, fail: broken}); !errors.Is(err, broken) || !strings.Contains(err.Error(), "start c") {
		t.Errorf("start c: %v", err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	want := []string{"start a", "start b", "start c", "stop b", "stop a"}
	if !slices.Equal(log, want) {
		t.Errorf("got %v, want %v", log, want)
	}
}

func TestWorkersStopNamesThoseThatDoNotEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var w Workers
		release := make(chan struct{})
		w.Go("polite", func(ctx context.Context) { <-ctx.Done() })
		w.Go("stubborn", func(context.Context) { <-release })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := w.Stop(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "stubborn (1)") || strings.Contains(err.Error(), "polite") {
			t.Errorf("got %v", err)
		}
		close(release)
		if err := w.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if w.Go("late", func(context.Context) {}) {
			t.Error("a worker started after Stop")
		}
	})
}
