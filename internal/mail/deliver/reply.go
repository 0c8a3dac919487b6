package deliver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds of one reply. RFC 5321, Section 4.5.3.1.5, allows 512 octets a line;
// real servers go beyond.
const (
	maxReplyLine  = 4096
	maxReplyLines = 100
	maxReplyText  = 1000 // kept of the text
)

var (
	errReply   = errors.New("malformed reply")
	errUnasked = errors.New("unasked data")
)

// reply is what a server said. Lines are printable and without code.
type reply struct {
	code     int
	enhanced string // RFC 2034; "" if none or of another class than code
	lines    []string
}

func (r reply) ok() bool { return r.code/100 == 2 }

// text is the reply in one line.
func (r reply) text() string { return printable(strings.Join(r.lines, " "), maxReplyText) }

// readReply reads one reply. br must hold at least maxReplyLine octets.
func readReply(br *bufio.Reader) (reply, error) {
	var r reply
	for range maxReplyLines {
		line, err := br.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return r, fmt.Errorf("%w: line too long", errReply)
		case errors.Is(err, io.EOF) && len(line) > 0:
			return r, io.ErrUnexpectedEOF
		case err != nil:
			return r, err
		}
		last, err := r.add(line)
		if err != nil || last {
			return r, err
		}
	}
	return r, fmt.Errorf("%w: too many lines", errReply)
}

// add takes one line (RFC 5321, Section 4.2: Reply-line) and reports whether it
// was the last. A line that ends in LF alone is let pass: it ends all the same.
func (r *reply) add(line []byte) (last bool, err error) {
	text := strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r")
	if len(text) < 3 || text[0] < '2' || text[0] > '5' || !digit(text[1]) || !digit(text[2]) {
		return false, fmt.Errorf("%w: no code", errReply)
	}
	code := int(text[0]-'0')*100 + int(text[1]-'0')*10 + int(text[2]-'0')
	if r.code != 0 && code != r.code {
		return false, fmt.Errorf("%w: code changes within it", errReply)
	}
	r.code = code
	last = true
	if text = text[3:]; text != "" {
		if text[0] != ' ' && text[0] != '-' {
			return false, fmt.Errorf("%w: no code", errReply)
		}
		last, text = text[0] == ' ', text[1:]
	}
	if status, rest, ok := cutEnhanced(text, r.code/100); ok {
		text = rest
		if r.enhanced == "" {
			r.enhanced = status
		}
	}
	r.lines = append(r.lines, printable(text, maxReplyText))
	return last, nil
}

// cutEnhanced takes an enhanced status code of the given class off the front of
// a reply text (RFC 2034, Section 4).
func cutEnhanced(text string, class int) (status, rest string, ok bool) {
	status, rest, _ = strings.Cut(text, " ")
	parts := strings.Split(status, ".")
	if len(parts) != 3 || len(parts[0]) != 1 || int(parts[0][0]-'0') != class || class == 3 {
		return "", text, false
	}
	for _, p := range parts[1:] {
		if len(p) < 1 || len(p) > 3 || len(p) > 1 && p[0] == '0' {
			return "", text, false
		}
		for i := range len(p) {
			if !digit(p[i]) {
				return "", text, false
			}
		}
	}
	return status, rest, true
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// echoed is how many characters on end of what we said make an echo of it.
const echoed = 8

// withoutEcho is what a server said to our login, for logs and notices: servers
// repeat a command that they do not like, be it cut short or in other letters,
// and ours holds the password.
func withoutEcho(text, line string, password []byte) string {
	const kept = "(its text repeats the login, and is not shown)"
	if len(password) > 0 && strings.Contains(text, string(password)) {
		return kept
	}
	heard, said := strings.ToLower(text), strings.ToLower(line)
	for i := 0; i+echoed <= len(said); i++ { // user and password are longer than that in base64
		if strings.Contains(heard, said[i:i+echoed]) {
			return kept
		}
	}
	return text
}
