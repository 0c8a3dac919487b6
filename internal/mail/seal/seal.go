// Package seal signs outgoing messages with DKIM (RFC 6376; RFC 8301 for RSA,
// RFC 8463 for Ed25519), relaxed in header and body, with all keys in one pass
// over the body, by go-msgauth's streaming signer.
//
// It signs what is handed to it and decides nothing: which domain's keys, and
// whether, is mail/accept's business; where keys live is mail/selector's. The
// library's goroutines, one a key, have ended when Sign returns.
package seal

import (
	"crypto"
	"fmt"
	"io"

	"github.com/emersion/go-msgauth/dkim"

	"postern/internal/mail/message"
)

// Key signs for a domain.
type Key struct {
	Domain   string // d=, as A-labels
	Selector string // s=
	Signer   crypto.Signer
}

// once are the fields that a message may hold at most once (RFC 5322, Section
// 3.6; RFC 2045, Section 3; RFC 2369; RFC 2919; RFC 3834; RFC 8058). They are
// signed as often as they stand and once more, so that nobody can add another
// that a reader would show in place of the signed one.
var once = [...]string{
	"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "In-Reply-To", "References",
	"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Content-ID", "Content-Description",
	"Content-Disposition", "Content-Language", "Auto-Submitted", "List-Id", "List-Unsubscribe",
	"List-Unsubscribe-Post", "Importance", "Priority",
}

// maxTwice bounds how often one name is listed; a message with more fields of
// a name that may stand once is not worth more.
const maxTwice = 4

// maxNames bounds the list as written in one line, which cannot be folded
// after signing (message.MaxLine less its tag).
const maxNames = message.MaxLine - 8

// Sign returns the DKIM-Signature fields, each with its CRLF, to put in front
// of header, which must be the header block as it will be sent. No keys give no
// fields.
func Sign(header []byte, body io.Reader, keys []Key) ([]byte, error) {
	h, err := message.Parse(header)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	signers, err := start(keys, names(h))
	if err == nil {
		err = feed(signers, header, body)
	}
	var fields []byte
	for i, s := range signers {
		// Close also ends the signer's goroutine, so it runs for each.
		if cerr := s.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("key %s: %w", keys[i].Selector, cerr)
		}
		if err == nil {
			fields = append(fields, s.Signature()...)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return fields, nil
}

func start(keys []Key, names []string) ([]*dkim.Signer, error) {
	signers := make([]*dkim.Signer, 0, len(keys))
	for _, k := range keys {
		s, err := dkim.NewSigner(&dkim.SignOptions{
			Domain:                 k.Domain,
			Selector:               k.Selector,
			Signer:                 k.Signer,
			Hash:                   crypto.SHA256,
			HeaderCanonicalization: dkim.CanonicalizationRelaxed,
			BodyCanonicalization:   dkim.CanonicalizationRelaxed,
			HeaderKeys:             names,
		})
		if err != nil {
			return signers, fmt.Errorf("key %s: %w", k.Selector, err)
		}
		signers = append(signers, s)
	}
	return signers, nil
}

func feed(signers []*dkim.Signer, header []byte, body io.Reader) error {
	if len(signers) == 0 {
		return nil
	}
	writers := make([]io.Writer, len(signers))
	for i, s := range signers {
		writers[i] = s
	}
	all := io.MultiWriter(writers...)
	if _, err := all.Write(header); err != nil {
		return err
	}
	if _, err := io.WriteString(all, "\r\n"); err != nil {
		return err
	}
	_, err := io.Copy(all, body)
	return err
}

// names is the value of h=.
func names(h *message.Header) []string {
	var out []string
	length := 0
	for _, name := range once {
		n := h.Count(name)
		if n == 0 && !always(name) {
			continue
		}
		for range min(n, maxTwice) + 1 {
			if length += len(name) + 1; length > maxNames {
				return out
			}
			out = append(out, name)
		}
	}
	return out
}

// always names the fields whose absence is signed too: one added on the way
// would change what the reader sees.
func always(name string) bool {
	switch name {
	case "From", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Content-Transfer-Encoding":
		return true
	}
	return false
}
