package message

import (
	"errors"
	"io"
	"mime"
	"strings"

	"postern/internal/mail/address"
)

// errRoute is a source route in front of an address, which nothing may write
// (RFC 5322, Section 4.4), and of which some programs show the beginning.
var errRoute = errors.New("a source route in an address")

var errBrackets = errors.New("too many angle brackets")

// Named returns the addresses in angle brackets in From, Sender, Resent-From and
// Resent-Sender wherever they stand there: also in comments, in quoted names and
// in encoded words (RFC 2047), where they name nobody. Programs that look for the
// brackets alone, or decode before they parse, show them as who has written.
func (h *Header) Named() ([]address.Address, error) {
	var out []address.Address
	for _, f := range h.fields {
		if !f.Is("From") && !f.Is("Sender") && !f.Is("Resent-From") && !f.Is("Resent-Sender") {
			continue
		}
		value := strings.ReplaceAll(f.Value(), `\`, "") // as it is shown, quoted pairs and all
		for _, text := range []string{value, decoded(value)} {
			list, err := bracketed(text)
			if err != nil {
				return nil, err
			}
			out = append(out, list...)
		}
	}
	return out, nil
}

// decoded is a text with its encoded words read, as far as they can be.
func decoded(text string) string {
	if !strings.Contains(text, "=?") {
		return ""
	}
	d := mime.WordDecoder{CharsetReader: func(_ string, in io.Reader) (io.Reader, error) { return in, nil }}
	out, err := d.DecodeHeader(text)
	if err != nil { // then nobody else reads it either
		return ""
	}
	return out
}

// bracketed returns what stands in angle brackets and is an address; of brackets
// in brackets the innermost.
func bracketed(text string) ([]address.Address, error) {
	var out []address.Address
	for n := 0; ; n++ {
		end := strings.IndexByte(text, '>')
		if end < 0 {
			return out, nil
		}
		if n == maxMailboxes {
			return nil, errBrackets
		}
		inner := text[strings.LastIndexByte(text[:end], '<')+1 : end]
		text = text[end+1:]
		if !strings.Contains(inner, "@") {
			continue
		}
		list, err := ParseList(inner)
		if trimmed := strings.TrimSpace(inner); err != nil && strings.HasPrefix(trimmed, "@") && strings.Contains(trimmed, ":") {
			return nil, errRoute
		}
		if err == nil {
			out = append(out, list...)
		}
	}
}
