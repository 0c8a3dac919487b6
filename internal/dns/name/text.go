package name

// Parse reads a name in presentation form. The final dot is implied; "." is
// the root. Escapes are those of RFC 1035, Section 5.1: \X is the octet X and
// \DDD the octet with that decimal value.
func Parse(s string) (Name, error) {
	var room [maxName + 1]byte
	b, err := AppendParsed(room[:0], s)
	if err != nil {
		return "", err
	}
	if len(b) == 1 {
		return Root, nil
	}
	return Name(b), nil
}

// AppendParsed appends the name that Parse returns, as octets. After an error
// what it returns is of no use.
func AppendParsed(b []byte, s string) ([]byte, error) {
	if s == "" {
		return b, ErrEmpty
	}
	base := len(b)
	b = append(b, 0) // becomes the first label's length
	if s == "." {
		return b, nil
	}
	start := base
	for i := 0; i < len(s); {
		c, used, err := octet(s[i:])
		if err != nil {
			return b, err
		}
		if used == 1 && c == '.' {
			if err := closeLabel(b, start); err != nil {
				return b, err
			}
			start = len(b)
			b = append(b, 0)
		} else {
			b = append(b, lower(c))
		}
		if len(b)-base > maxName {
			return b, ErrLong
		}
		i += used
	}
	if start == len(b)-1 { // the text ended in a dot: that zero octet is the root's
		return b, nil
	}
	if err := closeLabel(b, start); err != nil {
		return b, err
	}
	if b = append(b, 0); len(b)-base > maxName {
		return b, ErrLong
	}
	return b, nil
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
	return string(n.AppendText(make([]byte, 0, len(n)+8)))
}

// AppendText appends what String returns.
func (n Name) AppendText(b []byte) []byte {
	if len(n) <= 1 {
		return append(b, '.')
	}
	for i := 0; i < len(n) && n[i] != 0; i += 1 + int(n[i]) {
		for _, c := range []byte(n[i+1 : i+1+int(n[i])]) {
			b = appendOctet(b, c)
		}
		b = append(b, '.')
	}
	return b
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
