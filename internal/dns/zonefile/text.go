package zonefile

import "strings"

// strings splits a token into the character strings it holds, escapes
// resolved: a quote ends one and begins the next (RFC 1035, Section 5.1).
func (d *data) strings(t token) ([]string, bool) {
	var out []string
	var b strings.Builder
	text, quoted, open := t.text, false, false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '"':
			if quoted || open {
				out = append(out, b.String())
				b.Reset()
			}
			quoted, open = !quoted, false
			continue
		case c == '\\':
			value, n := unescape(text[i+1:])
			if n == 0 {
				at := t
				at.col += i
				d.wrong(at, `write \\ for a backslash, \" for a quote`, `bad escape: \ is followed by a character or by three digits up to 255`)
				return nil, false
			}
			b.WriteByte(value)
			i += n
		default:
			b.WriteByte(c)
		}
		open = open || !quoted
	}
	if open {
		out = append(out, b.String())
	}
	return out, true
}

// unescape reads what follows a backslash and tells its length; 0 is an error.
func unescape(s string) (byte, int) {
	if s == "" {
		return 0, 0
	}
	if s[0] < '0' || s[0] > '9' {
		return s[0], 1
	}
	if len(s) < 3 {
		return 0, 0
	}
	n := 0
	for _, c := range []byte(s[:3]) {
		if c < '0' || c > '9' {
			return 0, 0
		}
		n = n*10 + int(c-'0')
	}
	if n > 255 {
		return 0, 0
	}
	return byte(n), 3
}

// joined is the token as one string, however long.
func (d *data) joined(t token) (string, bool) {
	parts, ok := d.strings(t)
	return strings.Join(parts, ""), ok
}

// text reads one character string.
func (d *data) text(what string) {
	t, ok := d.next(what)
	if !ok {
		return
	}
	s, ok := d.joined(t)
	switch {
	case !ok:
	case len(s) > 255:
		d.wrong(t, "", "the %s has %d octets, a string has at most 255", what, len(s))
	default:
		d.wire = append(append(d.wire, byte(len(s))), s...)
	}
}

// texts reads the strings of a TXT. One of more than 255 octets becomes
// several, which is what all who read TXT records undo.
func (d *data) texts() {
	for first := true; first || len(d.tokens) > 0; first = false {
		t, ok := d.next("text")
		if !ok {
			return
		}
		parts, ok := d.strings(t)
		if !ok {
			return
		}
		for _, s := range parts {
			for len(s) > 255 {
				d.wire = append(append(d.wire, 255), s[:255]...)
				s = s[255:]
			}
			d.wire = append(append(d.wire, byte(len(s))), s...)
		}
	}
	if len(d.wire) > 65535 {
		d.wrong(d.last, "", "the text has %d octets, a record has at most 65535", len(d.wire))
	}
}
