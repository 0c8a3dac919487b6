package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity says whether a Problem stops the configuration from being used.
type Severity int

// A Warning is worth a line; an Error refuses the file.
const (
	Error Severity = iota
	Warning
)

func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// Problem is one thing wrong with the file, at a position counted from 1
// (columns in bytes).
type Problem struct {
	File     string   `json:"file"`
	Line     int      `json:"line"`
	Col      int      `json:"col"`
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`
	Hint     string   `json:"hint,omitempty"`
}

// String is FILE:LINE:COL: message (hint).
func (p Problem) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Col)
	if p.Severity == Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		fmt.Fprintf(&b, " (%s)", p.Hint)
	}
	return b.String()
}

// Blocks reports whether the problem refuses the file.
func (p Problem) Blocks() bool { return p.Severity == Error }

// MarshalText lets a severity stand as a word in JSON.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Failed reports whether any of the problems refuses the file.
func Failed(problems []Problem) bool {
	return slices.ContainsFunc(problems, Problem.Blocks)
}

// arrange sorts problems by position, those of the main file first, and drops
// exact repetitions.
func arrange(problems []Problem, main string) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		if (a.File == main) != (b.File == main) {
			if a.File == main {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	return slices.Compact(problems)
}
