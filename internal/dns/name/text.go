package name

// Parse reads a name in presentation form. The final dot is implied; "." is
// the root. Escapes are those of RFC 1035, Section 5.1: \X is the octet X and
// \DDD the octet with that decimal value.
func Parse(s string) (Name, error) {
	if s == "" {
		return "", ErrEmpty
	}
	if s == "." {
		return Root, nil
	}
	b := make([]byte, 1, min(len(s)+2, maxName)) // the first octet is the first label's length
	start := 0
	for i := 0; i < len(s); {
		c, used, err := octet(s[i:])
		if err != nil {
			return "", err
		}
		if used == 1 && c == '.' {
			if err := closeLabel(b, start); err != nil {
				return "", err
			}
			start = len(b)
			b = append(b, 0)
		} else {
			b = append(b, lower(c))
		}
		if len(b) > maxName {
			return "", ErrLong
		}
		i += used
	}
	if start == len(b)-1 { // the text ended in a dot: that zero octet is the root's
		return Name(b), nil
	}
	if err := closeLabel(b, start); err != nil {
		return "", err
	}
	if b = append(b, 0); len(b) > maxName {
		return "", ErrLong
	}
	return Name(b), nil
}

// closeLabel writes the length of the label that b[start] begins.
func closeLabel(b []byte, start int) error {
	n := len(b) - start - 1
	switch {
	case n == 0:
		return ErrLabel
	case n > maxLabel:
		return ErrLabel63
	}
	b[start] = byte(n)
	return nil
}

// octet reads one octet of text and says how many characters it took.
func octet(s string) (byte, int, error) {
	if s[0] != '\\' {
		return s[0], 1, nil
	}
	if len(s) < 2 {
		return 0, 0, ErrEscape
	}
	if !digit(s[1]) {
		return s[1], 2, nil
	}
	if len(s) < 4 || !digit(s[2]) || !digit(s[3]) {
		return 0, 0, ErrEscape
	}
	v := int(s[1]-'0')*100 + int(s[2]-'0')*10 + int(s[3]-'0')
	if v > 255 {
		return 0, 0, ErrEscape
	}
	return byte(v), 4, nil
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// String returns the presentation form with the final dot. It is the same
// text that the DNS library gives an unpacked name, so the two compare equal.
func (n Name) String() string {
	if len(n) <= 1 {
		return "."
	}
	b := make([]byte, 0, len(n)+8)
	for i := 0; i < len(n) && n[i] != 0; i += 1 + int(n[i]) {
		for _, c := range []byte(n[i+1 : i+1+int(n[i])]) {
			b = appendOctet(b, c)
		}
		b = append(b, '.')
	}
	return string(b)
}

func appendOctet(b []byte, c byte) []byte {
	switch {
	case c < ' ' || c > '~':
		return append(b, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
	case c == '.' || c == ' ' || c == '\'' || c == '@' || c == ';' || c == '(' || c == ')' || c == '"' || c == '\\':
		return append(b, '\\', c)
	}
	return append(b, c)
}
