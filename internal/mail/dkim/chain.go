package dkim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"slices"
	"strconv"
	"strings"

	"postern/internal/lookup"
)

// maxSets is how many hops a chain may have (RFC 8617, Section 4.2.1).
const maxSets = 50

// Chain is the ARC sets of a message (RFC 8617). Its parts are by instance, the
// oldest first. Nothing in it is worth anything before Verify has passed, and
// then as much as those who sealed are.
type Chain struct {
	Sealers []string // d= of each seal and of each message signature, as A-labels; "" where it cannot be read
	Results []string // each ARC-Authentication-Results, without its instance
	fields  *fields
	sets    []set
	broken  string // why it cannot pass
}

// set is what one hop has added.
type set struct {
	results []byte
	message *signature
	seal    *signature
	verdict string // cv=
}

// ReadChain reads the ARC fields of a header block; nil if there are none.
func ReadChain(header []byte) *Chain {
	f := readFields(header)
	results, messages, seals := f.all("arc-authentication-results"), f.all("arc-message-signature"), f.all("arc-seal")
	n := len(seals)
	if n+len(results)+len(messages) == 0 {
		return nil
	}
	c := &Chain{fields: f}
	if n > maxSets || len(results) != n || len(messages) != n {
		c.broken = "sets are not whole"
		return c
	}
	c.sets = make([]set, n)
	for i := range n {
		c.place(results[i], messages[i], seals[i])
	}
	for i := range c.sets {
		if c.broken == "" {
			c.broken = c.sets[i].check(i)
		}
	}
	if c.broken == "" {
		for _, s := range c.sets {
			c.Sealers = append(c.Sealers, s.seal.Domain, s.message.Domain)
			_, text, _ := strings.Cut(string(s.results), ":")
			_, text, _ = strings.Cut(text, ";")
			c.Results = append(c.Results, strings.ReplaceAll(text, "\r\n", ""))
		}
	}
	return c
}

// place puts three fields into the sets they say they belong to.
func (c *Chain) place(results, message, seal []byte) {
	if s := c.of(instance(results)); s != nil {
		s.results = results
	}
	if s := c.of(instance(message)); s != nil {
		s.message = readTagged(message, messageTags)
	}
	if s := c.of(instance(seal)); s != nil {
		s.seal, s.verdict = readSeal(seal)
	}
}

func (c *Chain) of(i int) *set {
	if i < 1 || i > len(c.sets) {
		return nil
	}
	return &c.sets[i-1]
}

// instance is the i= of an ARC field, 0 if it cannot be read. That of results
// comes first (RFC 8617, Section 4.1.1).
func instance(raw []byte) int {
	_, value, _ := strings.Cut(string(raw), ":")
	for part := range strings.SplitSeq(value, ";") {
		tag, v, _ := strings.Cut(part, "=")
		if strings.Trim(tag, space) != "i" {
			continue
		}
		n, err := strconv.Atoi(strings.Trim(v, space))
		if err != nil {
			return 0
		}
		return n
	}
	return 0
}

// check says what is wrong with the set at place i (RFC 8617, Section 5.2).
func (s *set) check(i int) string {
	want := "pass"
	if i == 0 {
		want = "none"
	}
	switch {
	case s.results == nil || s.message == nil || s.seal == nil:
		return "sets are not whole"
	case s.verdict != want:
		return "a hop saw the chain broken" // cv=fail among others
	case s.message.Status != None:
		return "message signature: " + s.message.Reason
	case s.seal.Status != None:
		return "seal: " + s.seal.Reason
	}
	return ""
}

// messageTags holds an ARC-Message-Signature to what differs from DKIM (RFC
// 8617, Section 4.1.2): i= is the instance, and seals are not signed.
func messageTags(tags map[string]string) string {
	delete(tags, "i")
	if slices.Contains(strings.Split(strings.ToLower(strip(tags["h"])), ":"), "arc-seal") {
		return "seals are signed"
	}
	return ""
}

// readSeal reads an ARC-Seal (RFC 8617, Section 4.1.3) and its cv=.
func readSeal(raw []byte) (*signature, string) {
	verdict := ""
	s := readTagged(raw, func(tags map[string]string) string {
		verdict = strings.ToLower(strip(tags["cv"]))
		if _, ok := tags["h"]; ok {
			return "h= in a seal"
		}
		// What a seal signs is fixed; for the rest it is read as a signature.
		tags["h"], tags["bh"], tags["c"] = "from", "", "relaxed"
		delete(tags, "i")
		delete(tags, "l")
		return ""
	})
	return s, verdict
}

// Verify validates the chain: the newest message signature, and every seal (RFC
// 8617, Section 5.2). An error means that the message could not be read.
func (c *Chain) Verify(ctx context.Context, r lookup.Resolver, body io.Reader) (status Status, reason string, err error) {
	if c.broken != "" || len(c.sets) == 0 {
		return Fail, c.broken, nil
	}
	newest := c.sets[len(c.sets)-1].message
	asked := []*signature{newest}
	for _, s := range c.sets {
		asked = append(asked, s.seal)
	}
	keys := fetch(ctx, r, asked)
	for _, s := range asked {
		if !s.match(keys[s.keyName()]) {
			return worse(s.Status), s.Domain + ": " + s.Reason, nil
		}
	}
	for i, s := range c.sets {
		if !keys[s.seal.keyName()].verifies(c.sealed(i), s.seal.bytes) {
			return Fail, s.seal.Domain + ": seal did not verify", nil
		}
	}
	if err := c.fields.verify(ctx, asked[:1], keys, body); err != nil {
		return None, "", err
	}
	if newest.Status != Pass {
		return worse(newest.Status), newest.Domain + ": " + newest.Reason, nil
	}
	return Pass, "", nil
}

// worse is what a part that did not pass makes of the chain.
func worse(s Status) Status {
	if s == TempError {
		return TempError
	}
	return Fail
}

// sealed is the hash that seal i signs (RFC 8617, Section 5.1.1): all sets up to
// its own.
func (c *Chain) sealed(i int) []byte {
	sum := sha256.New()
	for j, s := range c.sets[:i+1] {
		sum.Write(relaxed.field(s.results))
		sum.Write(relaxed.field(s.message.raw))
		if j == i {
			sum.Write(bytes.TrimSuffix(relaxed.field(unsigned(s.seal.raw)), crlf))
			break
		}
		sum.Write(relaxed.field(s.seal.raw))
	}
	return sum.Sum(nil)
}
