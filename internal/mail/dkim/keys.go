package dkim

import (
	"context"
	"net"
	"strings"
	"sync"

	"postern/internal/lookup"
)

// keyFlags is what the library reads from a key record and does not tell.
type keyFlags struct {
	testing bool // t=y
	exact   bool // t=s
}

// keys looks up key records for one message: each name once, though several
// signatures may ask for it at the same time.
type keys struct {
	ctx context.Context // of the one Verify this serves; the library's callback takes none
	r   lookup.Resolver

	mu    sync.Mutex // guards known
	known map[string]*keyAnswer

	closed bool // only known names are answered; set before the library runs
}

type keyAnswer struct {
	once  sync.Once
	txts  []string
	err   error
	flags keyFlags
}

func newKeys(ctx context.Context, r lookup.Resolver) *keys {
	return &keys{ctx: ctx, r: r, known: map[string]*keyAnswer{}}
}

func (k *keys) answer(name string) *keyAnswer {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.known[name]
	if a == nil {
		a = &keyAnswer{}
		k.known[name] = a
	}
	return a
}

// lookup answers the library's question for SELECTOR._domainkey.DOMAIN. A
// temporary failure is a *net.DNSError that says so, which is how the library
// tells it from a missing key.
func (k *keys) lookup(name string) ([]string, error) {
	name = keyName(name)
	a := k.answer(name)
	a.once.Do(func() {
		if k.closed { // a name that we and the library read differently
			a.err = &net.DNSError{Err: "no such key", Name: name, IsNotFound: true}
			return
		}
		a.ask(k.ctx, k.r, name)
	})
	return a.txts, a.err
}

func (a *keyAnswer) ask(ctx context.Context, r lookup.Resolver, name string) {
	answer, err := r.Query(ctx, name, lookup.TXT)
	switch {
	case err != nil && lookup.IsTemporary(err):
		a.err = &net.DNSError{Err: err.Error(), Name: name, IsTemporary: true}
		return
	case err != nil || len(answer.Records) == 0:
		a.err = &net.DNSError{Err: "no such key", Name: name, IsNotFound: true}
		return
	}
	for _, record := range answer.Records {
		// White space of any kind may stand in p= (RFC 6376, Section 3.6.1);
		// the library knows spaces alone.
		a.txts = append(a.txts, strings.NewReplacer("\t", " ", "\r", " ", "\n", " ").Replace(record.Text))
	}
	a.flags = readFlags(a.txts[0])
}

// key returns the flags of a key that was looked up before.
func (k *keys) key(selector, domain string) keyFlags {
	a := k.answer(keyName(selector + "._domainkey." + domain))
	return a.flags
}

// keyName puts the domain of a key's name in canonical form, so that what is
// asked for does not depend on how the signer spelled it.
func keyName(s string) string {
	selector, domain, ok := strings.Cut(s, "._domainkey.")
	if d := canonical(domain); ok && d != "" {
		return strings.ToLower(strip(selector)) + "._domainkey." + d
	}
	return s
}

func readFlags(txt string) keyFlags {
	var out keyFlags
	for part := range strings.SplitSeq(txt, ";") {
		tag, value, _ := strings.Cut(part, "=")
		if strip(tag) != "t" {
			continue
		}
		for flag := range strings.SplitSeq(strip(value), ":") {
			out.testing = out.testing || flag == "y"
			out.exact = out.exact || flag == "s"
		}
	}
	return out
}
