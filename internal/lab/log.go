package lab

import (
	"context"
	"fmt"
	"strings"
	"sync"
)

// maxLog bounds what is kept of one peer; the oldest half goes first.
const maxLog = 8 << 20

// Log gathers what one peer says. It outlives a restart of the peer.
type Log struct {
	l    *Lab
	name string

	mu      sync.Mutex // guards the rest
	text    []byte
	dropped int           // bytes cut from the front
	grown   chan struct{} // closed and replaced at each write
}

func (l *Lab) newLog(name string) *Log {
	log := &Log{l: l, name: name, grown: make(chan struct{})}
	l.logs = append(l.logs, log)
	return log
}

// Write implements io.Writer.
func (g *Log) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.text = append(g.text, p...)
	if len(g.text) > maxLog {
		g.dropped += len(g.text) / 2
		g.text = append([]byte(nil), g.text[len(g.text)/2:]...)
	}
	close(g.grown)
	g.grown = make(chan struct{})
	return len(p), nil
}

// Printf adds a line of a peer that lives in this process.
func (g *Log) Printf(format string, args ...any) {
	fmt.Fprintf(g, format+"\n", args...)
}

// String returns what was said so far.
func (g *Log) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return string(g.text)
}

// Mark returns the present end, for Since and Wait.
func (g *Log) Mark() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.dropped + len(g.text)
}

// Since returns what was said after the mark.
func (g *Log) Since(mark int) string {
	text, _ := g.since(mark)
	return text
}

func (g *Log) since(mark int) (string, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return string(g.text[max(mark-g.dropped, 0):]), g.grown
}

// Wait waits for a line after the mark that contains all of the words, and
// returns it; 0 marks the beginning.
func (g *Log) Wait(mark int, words ...string) string {
	g.l.t.Helper()
	line, ok := g.await(mark, nil, func(line string) bool {
		for _, word := range words {
			if !strings.Contains(line, word) {
				return false
			}
		}
		return true
	})
	if !ok {
		g.l.t.Fatalf("log of %s: no line with %q", g.name, words)
	}
	return line
}

// await waits for a whole line that fits, until patience or ended ends.
func (g *Log) await(mark int, ended <-chan struct{}, fits func(line string) bool) (string, bool) {
	ctx, cancel := context.WithTimeout(g.l.ctx, patience)
	defer cancel()
	for {
		text, grown := g.since(mark)
		for line := range strings.Lines(text) {
			if whole, ok := strings.CutSuffix(line, "\n"); ok && fits(whole) {
				return whole, true
			}
		}
		select {
		case <-grown:
		case <-ended:
			// Once more, for what was said last.
			ended = nil
			cancel()
		case <-ctx.Done():
			return "", false
		}
	}
}

// tail returns the last lines.
func (g *Log) tail(lines int) string {
	all := strings.Split(strings.TrimRight(g.String(), "\n"), "\n")
	if cut := len(all) - lines; cut > 0 {
		all = append([]string{fmt.Sprintf("… %d lines before", cut)}, all[cut:]...)
	}
	return strings.Join(all, "\n")
}
