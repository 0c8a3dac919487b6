package app

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"postern/internal/mail/smtpd"
)

const (
	begun    = "MAIL FROM:<a@city.example>\r\nRCPT TO:<b@city.example>\r\n"
	smuggled = "RSET\r\n" + begun + "BDAT 10 LAST\r\nsmuggled\r\n"
	nobody   = "MAIL FROM:<a@city.example>\r\nRCPT TO:<\"b@evil.example\"@city.example>\r\n" // refused at every door
)

// bdat is a chunk with its command.
func bdat(text string, last bool) string {
	word := ""
	if last {
		word = " LAST"
	}
	return fmt.Sprintf("BDAT %d%s\r\n%s", len(text), word, text)
}

// TestHostileDialogues plays what a client says to have two readers understand
// two things. Each runs at every door, over TCP and TLS, in one piece and octet
// by octet, and must give these messages and no others.
func TestHostileDialogues(t *testing.T) {
	t.Parallel()
	doors := entrances(t, func(c *smtpd.Config) { c.Chunking = true })
	for name, c := range map[string]struct {
		say      string
		messages []string
		codes    string // "" where they hang on how it arrives
	}{
		"end of data inside a chunk":   {begun + bdat("\r\n.\r\n"+smuggled, true) + "QUIT\r\n", []string{"\r\n.\r\n" + smuggled}, "250 250 250 221"},
		"end of data over two chunks":  {begun + bdat("\r\n.", false) + bdat("\r\n"+smuggled, true) + "QUIT\r\n", []string{"\r\n.\r\n" + smuggled}, "250 250 250 250 221"},
		"CRLF over two chunks":         {begun + bdat("\r\na\r", false) + bdat("\n", true) + "QUIT\r\n", []string{"\r\na\r\n"}, "250 250 250 250 221"},
		"bare CR over two chunks":      {begun + bdat("a\r", false) + bdat("b\r\n", true) + smuggled, nil, "250 250 250 550"},
		"bare LF in a chunk":           {begun + bdat("a\n.\n"+smuggled, true) + smuggled, nil, "250 250 550"},
		"NUL in a chunk":               {begun + bdat("a\x00\r\n", true) + smuggled, nil, "250 250 550"},
		"chunk without a line's end":   {begun + bdat("a", true) + smuggled, nil, "250 250 550"},
		"no octets":                    {begun + bdat("", false) + bdat("", true) + "QUIT\r\n", []string{"\r\n"}, "250 250 250 250 221"},
		"last chunk without octets":    {begun + bdat("\r\na\r\n", false) + bdat("", true) + "QUIT\r\n", []string{"\r\na\r\n"}, "250 250 250 250 221"},
		"chunk after the last one":     {begun + bdat("\r\na\r\n", true) + bdat(smuggled, true) + "QUIT\r\n", []string{"\r\na\r\n"}, "250 250 250 503 221"},
		"chunk for nobody":             {nobody + bdat(smuggled, true) + "NOOP\r\nQUIT\r\n", nil, "250 55. 554 250 221"},
		"chunks for nobody":            {nobody + bdat(smuggled, false) + bdat(smuggled, true) + "QUIT\r\n", nil, "250 55. 554 554 221"},
		"chunk before MAIL":            {bdat(smuggled, true) + "QUIT\r\n", nil, "503 221"},
		"chunk larger than it is":      {begun + "BDAT 500 LAST\r\na\r\n.\r\n" + smuggled, nil, "250 250"},
		"chunk of a size below zero":   {begun + "BDAT -1 LAST\r\n" + smuggled, nil, "250 250 501"},
		"chunk of a hexadecimal size":  {begun + "BDAT 0x10 LAST\r\n" + smuggled, nil, "250 250 501"},
		"chunk of a signed size":       {begun + "BDAT +10 LAST\r\n" + smuggled, nil, "250 250 501"},
		"chunk beyond 64 bits":         {begun + "BDAT 18446744073709551626 LAST\r\n" + smuggled, nil, "250 250 501"},
		"chunk beyond what is taken":   {begun + "BDAT 99999999999 LAST\r\n" + smuggled, nil, "250 250 552"},
		"two blanks in BDAT":           {begun + "BDAT 10  LAST\r\n" + smuggled, nil, "250 250 501"},
		"tab in BDAT":                  {begun + "BDAT 10\tLAST\r\n" + smuggled, nil, "250 250 501"},
		"LAST and more":                {begun + "BDAT 10 LAST 10\r\n" + smuggled, nil, "250 250 501"},
		"BDAT alone":                   {begun + "BDAT\r\n" + smuggled, nil, "250 250 501"},
		"RSET between chunks":          {begun + bdat("a\r\n", false) + "RSET\r\n" + begun + bdat("\r\nb\r\n", true) + "QUIT\r\n", []string{"\r\nb\r\n"}, "250 250 250 250 250 250 250 221"},
		"MAIL between chunks":          {begun + bdat("\r\na\r\n", false) + begun + bdat("b\r\n", true) + "QUIT\r\n", []string{"\r\na\r\nb\r\n"}, "250 250 250 503 503 250 221"},
		"AUTH between chunks":          {begun + bdat("a\r\n", false) + "AUTH PLAIN\r\n", nil, ""},
		"DATA between chunks":          {begun + bdat("a\r\n", false) + "DATA\r\n" + smuggled, nil, ""},
		"HELO between chunks":          {begun + bdat("a\r\n", false) + "HELO x\r\n" + bdat("b\r\n", true), nil, ""},
		"CR in RCPT":                   {begun[:len(begun)-2] + "\r" + smuggled, nil, "250 500"},
		"LF in RCPT":                   {begun[:len(begun)-2] + "\n" + smuggled, nil, "250 500"},
		"NUL in RCPT":                  {begun[:len(begun)-2] + "\x00\r\n" + smuggled, nil, "250 500"},
		"next line of Unicode in RCPT": {"MAIL FROM:<a@city.example> SMTPUTF8\r\nRCPT TO:<b\u0085c@city.example>\r\nRCPT TO:<b\u2028c@city.example>\r\nQUIT\r\n", nil, "250 501 501 221"},
		"address in an address":        {"MAIL FROM:<<a@city.example>>\r\nMAIL FROM:<a@city.example><b@city.example>\r\nMAIL FROM:<a@city.example>SIZE=1\r\nQUIT\r\n", nil, "501 501 501 221"},
		"command in a quoted address":  {"MAIL FROM:<a@city.example>\r\nRCPT TO:<\"b@city.example>\r\nRCPT TO:<c@city.example>\r\nDATA\r\n", nil, ""},
		"parameter twice":              {"MAIL FROM:<a@city.example> SIZE=1 size=2\r\nMAIL FROM:<a@city.example> BODY=8BITMIME BODY=7BIT\r\nQUIT\r\n", nil, "501 501 221"},
		"parameters nobody offered":    {"MAIL FROM:<a@city.example> BODY=BINARYMIME\r\nMAIL FROM:<a@city.example> RET=FULL\r\nMAIL FROM:<a@city.example> XVERP\r\nQUIT\r\n", nil, "501 555 555 221"},
		"SIZE that lies":               {"MAIL FROM:<a@city.example> SIZE=1\r\nRCPT TO:<b@city.example>\r\n" + bdat("\r\naaaa\r\n", true) + "MAIL FROM:<a@city.example> SIZE=99999999999999999999\r\nQUIT\r\n", []string{"\r\naaaa\r\n"}, "250 250 250 552 221"},
		"UTF-8 that nobody announced":  {"MAIL FROM:<a@city.example>\r\nRCPT TO:<b\u00fc@city.example>\r\nRCPT TO:<b@b\u00fccher.example>\r\nQUIT\r\n", nil, "250 553 553 221"},
		"bytes that are not UTF-8":     {"MAIL FROM:<a\xff@city.example> SMTPUTF8\r\nQUIT\r\n", nil, "500 221"},
		"PROXY for a name":             {"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\nQUIT\r\n", nil, "500 221"},
		"PROXY of version 2":           {"\r\n\r\n\x00\r\nQUIT\n!\x11\x00\x0c", nil, "500 500 500"},
		"XCLIENT of a stranger":        {"XCLIENT ADDR=192.0.2.1 LOGIN=a\r\nQUIT\r\n", nil, ""},
		"a web client":                 {"GET / HTTP/1.1\r\nHost: x\r\n" + smuggled, nil, "500"},
		"a long line":                  {"NOOP " + strings.Repeat("x", 2100) + "\r\n" + smuggled, nil, "500"},
		"a line that does not end":     {strings.Repeat("x", 10000), nil, "500"},
		"a second login":               {"AUTH PLAIN AGEAYg==\r\nQUIT\r\n", nil, ""},
		"nothing but errors":           {strings.Repeat("X\r\n", 50) + smuggled, nil, strings.TrimSpace(strings.Repeat("500 ", 20)) + " 421"},
	} {
		for _, g := range doors {
			for _, step := range []int{1 << 20, 1} {
				if step == 1 && (len(c.say) > 500 || g.tls == "on request") {
					continue
				}
				codes, err := g.converse(c.say, step)
				got := g.tray.empty()
				if err != nil || !slices.Equal(got, c.messages) || c.codes != "" && !alike(codes, c.codes) {
					t.Errorf("%s, TLS %q, %s, %d octets at a time: messages %q, want %q; replies %s, want %s; %v", g.name, g.tls, name, step, got, c.messages, codes, c.codes, err)
				}
			}
		}
	}
}

// alike compares codes, in which a dot stands for any digit.
func alike(got, want string) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range len(want) {
		if want[i] != '.' && got[i] != want[i] {
			return false
		}
	}
	return true
}

// converse says all of a text, so many octets in each segment or record, and no
// more, and returns the codes of the replies until the server closes.
func (g entrance) converse(text string, step int) (string, error) {
	conn, in, err := g.enter()
	if err != nil {
		return "", err
	}
	defer conn.Close()
	for piece := range slices.Chunk([]byte(text), step) {
		if _, err := conn.Write(piece); err != nil {
			break // it has closed, having heard enough
		}
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // it may have closed
	}
	var codes []string
	for {
		line, err := in.ReadString('\n')
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout():
			return strings.Join(codes, " "), err
		case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(err.Error(), "reset by peer"):
			return strings.Join(codes, " "), err
		case err != nil:
			return strings.Join(codes, " "), nil
		}
		if len(line) > 3 && line[3] == ' ' {
			codes = append(codes, line[:3])
		}
	}
}
