package trail

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Bounds on what one search finds.
const (
	maxMessages = 100 // the newest
	maxFound    = 1000
)

// Line is what the log said once about a message.
type Line struct {
	At     time.Time         `json:"at"`
	Text   string            `json:"text"`
	ID     string            `json:"queue_id,omitempty"`
	Fields map[string]string `json:"fields,omitempty"` // the rest
}

// Found is all about the messages that a search found, oldest first.
type Found struct {
	Lines []Line
	IDs   []string // of the messages, in order of their first line
	More  bool     // there was more than a search tells
}

// Search looks for a queue id, an address or a Message-ID in a JSON log; files
// calls its argument with each part of it, oldest first, and is called twice.
func Search(query string, files func(each func(io.Reader) error) error) (Found, error) {
	var out Found
	if strings.Trim(query, "<> ") == "" {
		return out, nil
	}
	var alone []Line // about no message: refused before there was one
	err := files(func(r io.Reader) error {
		return scan(r, []string{strings.Trim(query, "<>")}, func(l Line) {
			switch {
			case !l.concerns(query):
			case l.ID == "":
				alone = append(alone, l)
			case !slices.Contains(out.IDs, l.ID):
				out.IDs = append(out.IDs, l.ID)
			}
			if len(out.IDs) > maxMessages {
				out.IDs, out.More = out.IDs[1:], true
			}
			if len(alone) > maxFound {
				alone, out.More = alone[1:], true
			}
		})
	})
	if err != nil {
		return Found{}, err
	}
	if len(out.IDs) > 0 {
		err = files(func(r io.Reader) error {
			return scan(r, out.IDs, func(l Line) {
				if slices.Contains(out.IDs, l.ID) {
					out.Lines = append(out.Lines, l)
				}
			})
		})
	}
	out.Lines = append(out.Lines, alone...)
	slices.SortStableFunc(out.Lines, func(a, b Line) int { return a.At.Compare(b.At) })
	if len(out.Lines) > maxFound {
		out.Lines, out.More = out.Lines[len(out.Lines)-maxFound:], true
	}
	return out, err
}

// scan calls f with the lines that hold one of the words, in any letter case.
func scan(r io.Reader, words []string, f func(Line)) error {
	var wanted [][]byte
	for _, w := range words {
		wanted = append(wanted, bytes.ToLower([]byte(inJSON(w))))
	}
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 64<<10), 1<<20)
	for in.Scan() {
		lower := bytes.ToLower(in.Bytes())
		if !slices.ContainsFunc(wanted, func(w []byte) bool { return bytes.Contains(lower, w) }) {
			continue
		}
		if l, ok := parse(in.Bytes()); ok {
			f(l)
		}
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	return nil
}

// inJSON is a text as it stands inside a JSON string.
func inJSON(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // as the log does
	_ = enc.Encode(s)        // a string can be encoded
	return strings.Trim(strings.TrimSpace(b.String()), `"`)
}

// parse reads a line of the JSON log; half a line, at a crash, is none.
func parse(raw []byte) (Line, bool) {
	var fields map[string]any
	if json.Unmarshal(raw, &fields) != nil {
		return Line{}, false
	}
	l := Line{Fields: map[string]string{}}
	for k, v := range fields {
		text, ok := v.(string)
		if !ok {
			text = fmt.Sprint(v)
		}
		switch k {
		case "time":
			l.At, _ = time.Parse(time.RFC3339Nano, text) // zero sorts first
		case "msg":
			l.Text = text
		case "queue_id":
			l.ID = text
		default:
			l.Fields[k] = text
		}
	}
	return l, l.Text != ""
}

// concerns tells whether the line is what was searched for: a queue id, a
// Message-ID with or without its brackets, or an address.
func (l Line) concerns(query string) bool {
	query = strings.Trim(query, "<>")
	if strings.EqualFold(l.ID, query) || strings.EqualFold(strings.Trim(l.Fields["message_id"], "<>"), query) {
		return true
	}
	for _, name := range [...]string{"from", "to", "account", "command"} {
		parts := strings.FieldsFunc(l.Fields[name], func(r rune) bool { return strings.ContainsRune(" <>", r) })
		if slices.ContainsFunc(parts, func(a string) bool { return strings.EqualFold(a, query) }) {
			return true
		}
	}
	return false
}
