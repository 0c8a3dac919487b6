package smtpline

import (
	"strconv"
	"strings"

	"postern/internal/mail/envelope"
)

// Body is the BODY parameter (RFC 6152).
type Body uint8

// The bodies. The zero value is a client that said nothing.
const (
	BodyUnsaid Body = iota
	Body7Bit
	Body8Bit
)

// MailParams are the parameters of MAIL.
type MailParams struct {
	Size       int64  // RFC 1870; 0: not given
	Body       Body   // RFC 6152
	UTF8       bool   // RFC 6531
	RequireTLS bool   // RFC 8689
	Auth       string // RFC 4954, Section 5, decoded; "<>" or an address; never trusted
	Ret        string // RFC 3461, Section 4.3: "", "FULL" or "HDRS"
	EnvID      string // RFC 3461, Section 4.4, checked and still in xtext
}

// RcptParams are the parameters of RCPT.
type RcptParams struct {
	Notify envelope.Notify // RFC 3461, Section 4.1
	ORcpt  string          // RFC 3461, Section 4.2: "rfc822;user@example.org", checked and still in xtext
}

type param struct {
	name, value string
	hasValue    bool
}

// cutParams splits the parameters. A second one of the same name is refused:
// which of the two would count is what two readers disagree about.
func cutParams(s string) ([]param, *Reply) {
	words := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' })
	if len(words) > 10 {
		return nil, badParam("too many parameters")
	}
	params := make([]param, 0, len(words))
	seen := make(map[string]bool, len(words))
	for _, w := range words {
		name, value, hasValue := strings.Cut(w, "=")
		name = strings.ToUpper(name)
		if !isKeyword(name) || hasValue && value == "" {
			return nil, badParam("malformed parameter")
		}
		if seen[name] {
			return nil, badParam("parameter given twice: " + name)
		}
		seen[name] = true
		params = append(params, param{name, value, hasValue})
	}
	return params, nil
}

func badParam(text string) *Reply { return Refuse(501, "5.5.4", "bad-parameter", text) }

func unknownParam(p param) *Reply {
	return Refuse(555, "5.5.4", "unknown-parameter", "parameter not recognised: "+p.name)
}

func isKeyword(s string) bool {
	if s == "" || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if !isAlnum(s[i]) && s[i] != '-' {
			return false
		}
	}
	return true
}

func parseMailParams(s string, ext Extensions) (MailParams, *Reply) {
	params, refusal := cutParams(s)
	if refusal != nil {
		return MailParams{}, refusal
	}
	var out MailParams
	for _, p := range params {
		switch {
		case p.name == "SIZE" && ext.Size:
			refusal = out.setSize(p)
		case p.name == "BODY" && ext.EightBit:
			refusal = out.setBody(p)
		case p.name == "SMTPUTF8" && ext.UTF8:
			out.UTF8 = true
			if p.hasValue {
				refusal = badParam("SMTPUTF8 takes no value")
			}
		case p.name == "REQUIRETLS" && ext.RequireTLS:
			out.RequireTLS = true
			if p.hasValue {
				refusal = badParam("REQUIRETLS takes no value")
			}
		case p.name == "AUTH" && ext.Auth:
			refusal = out.setAuth(p)
		case p.name == "RET" && ext.DSN:
			refusal = out.setRet(p)
		case p.name == "ENVID" && ext.DSN:
			refusal = out.setEnvID(p)
		default:
			refusal = unknownParam(p)
		}
		if refusal != nil {
			return MailParams{}, refusal
		}
	}
	return out, nil
}

func (m *MailParams) setSize(p param) *Reply {
	// RFC 1870, Section 4: up to 20 digits. More than an int64 holds is more
	// than anyone takes; it counts as the largest.
	if len(p.value) == 0 || len(p.value) > 20 || strings.Trim(p.value, "0123456789") != "" {
		return badParam("SIZE wants a number")
	}
	n, err := strconv.ParseInt(p.value, 10, 64)
	if err != nil {
		n = 1<<63 - 1
	}
	m.Size = n
	return nil
}

func (m *MailParams) setBody(p param) *Reply {
	switch strings.ToUpper(p.value) {
	case "7BIT":
		m.Body = Body7Bit
	case "8BITMIME":
		m.Body = Body8Bit
	default:
		return badParam("BODY wants 7BIT or 8BITMIME")
	}
	return nil
}

func (m *MailParams) setAuth(p param) *Reply {
	v, ok := decodeXtext(p.value)
	if !ok {
		return badParam("malformed AUTH parameter")
	}
	m.Auth = v
	return nil
}

func (m *MailParams) setRet(p param) *Reply {
	v := strings.ToUpper(p.value)
	if v != "FULL" && v != "HDRS" {
		return badParam("RET wants FULL or HDRS")
	}
	m.Ret = v
	return nil
}

func (m *MailParams) setEnvID(p param) *Reply {
	if _, ok := decodeXtext(p.value); !ok || len(p.value) > 100 { // RFC 3461, Section 4.4
		return badParam("malformed ENVID parameter")
	}
	m.EnvID = p.value
	return nil
}

func parseRcptParams(s string, ext Extensions) (RcptParams, *Reply) {
	params, refusal := cutParams(s)
	if refusal != nil {
		return RcptParams{}, refusal
	}
	var out RcptParams
	for _, p := range params {
		switch {
		case p.name == "NOTIFY" && ext.DSN:
			out.Notify, refusal = parseNotify(p.value)
		case p.name == "ORCPT" && ext.DSN:
			out.ORcpt, refusal = parseOrcpt(p.value)
		default:
			refusal = unknownParam(p)
		}
		if refusal != nil {
			return RcptParams{}, refusal
		}
	}
	return out, nil
}

func parseNotify(v string) (envelope.Notify, *Reply) {
	var all envelope.Notify
	for word := range strings.SplitSeq(strings.ToUpper(v), ",") {
		var one envelope.Notify
		switch word {
		case "NEVER":
			one = envelope.Never
		case "SUCCESS":
			one = envelope.Success
		case "FAILURE":
			one = envelope.Failure
		case "DELAY":
			one = envelope.Delay
		}
		// RFC 3461, Section 4.1: NEVER stands alone.
		if one == 0 || all&one != 0 || all&envelope.Never != 0 || all != 0 && one == envelope.Never {
			return 0, badParam("malformed NOTIFY parameter")
		}
		all |= one
	}
	return all, nil
}

func parseOrcpt(v string) (string, *Reply) {
	kind, addr, ok := strings.Cut(v, ";")
	if !ok || !isKeyword(strings.ToUpper(kind)) || len(v) > 500 { // RFC 3461, Section 4.2
		return "", badParam("malformed ORCPT parameter")
	}
	if _, ok := decodeXtext(addr); !ok {
		return "", badParam("malformed ORCPT parameter")
	}
	return v, nil
}

// decodeXtext undoes RFC 3461, Section 4. What decodes to a control or to
// something beyond ASCII is refused: it would travel into headers and replies.
func decodeXtext(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			if i+2 >= len(s) {
				return "", false
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil || strings.ToUpper(s[i+1:i+3]) != s[i+1:i+3] {
				return "", false
			}
			c = byte(n)
			i += 2
		case c == '=':
			return "", false
		}
		if c < ' ' || c > '~' {
			return "", false
		}
		b.WriteByte(c)
	}
	return b.String(), b.Len() > 0
}
