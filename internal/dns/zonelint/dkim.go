package zonelint

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"strings"
)

// dkim looks at a selector (RFC 6376, Section 3.6.1; RFC 8301; RFC 8463).
func (l *lint) dkim(o *owner, all []text) {
	for i, t := range all {
		if i == 1 {
			l.report(t.record, "dkim-several", "%s has %d texts", o.name, len(all))
		}
		list, why := tags(t.value)
		switch {
		case why == "" && !list.has("p"):
			l.report(t.record, "dkim-cut", "the DKIM record at %s ends without p, its key", o.name)
			continue
		case why != "":
			l.report(t.record, "dkim-key", "%s", why)
			continue
		}
		l.dkimTags(t, list)
		l.dkimKey(t, list)
	}
}

func (l *lint) dkimTags(t text, list tagList) {
	if list.has("v") && (list[0].name != "v" || list[0].value != "DKIM1") {
		l.report(t.record, "dkim-tag", "v=DKIM1 stands first, or there is no v")
	}
	in := func(values, want string) bool {
		for v := range strings.SplitSeq(values, ":") {
			if strings.TrimSpace(v) == want {
				return true
			}
		}
		return false
	}
	if h := list.get("h"); list.has("h") && !in(h, "sha256") {
		l.report(t.record, "dkim-tag", "h=%s leaves out sha256, the only hash that is used", h)
	}
	if s := list.get("s"); list.has("s") && !in(s, "*") && !in(s, "email") {
		l.report(t.record, "dkim-tag", "s=%s leaves out email", s)
	}
	if in(list.get("t"), "y") {
		l.report(t.record, "dkim-testing", "t=%s", list.get("t"))
	}
}

func (l *lint) dkimKey(t text, list tagList) {
	p := strings.Join(strings.Fields(list.get("p")), "")
	if p == "" { // revoked
		return
	}
	raw, err := base64.StdEncoding.DecodeString(p)
	if err != nil {
		l.report(t.record, "dkim-key", "p is not base64")
		return
	}
	switch k := list.get("k"); k {
	case "", "rsa":
		bits, ok := rsaBits(raw)
		switch {
		case !ok:
			l.report(t.record, "dkim-key", "p is no RSA key")
		case bits < 1024:
			l.report(t.record, "dkim-short", "the RSA key has %d bits", bits)
		case bits < 2048:
			l.report(t.record, "dkim-weak", "the RSA key has %d bits", bits)
		}
	case "ed25519":
		if len(raw) != 32 {
			l.report(t.record, "dkim-key", "p has %d octets, a key for Ed25519 has 32", len(raw))
		}
	default:
		l.report(t.record, "dkim-tag", "k=%s is not known, rsa and ed25519 are", k)
	}
}

// rsaBits reads both forms that are in use (errata 3017 of RFC 6376).
func rsaBits(raw []byte) (int, bool) {
	if key, err := x509.ParsePKIXPublicKey(raw); err == nil {
		if k, ok := key.(*rsa.PublicKey); ok {
			return k.N.BitLen(), true
		}
		return 0, false
	}
	k, err := x509.ParsePKCS1PublicKey(raw)
	if err != nil {
		return 0, false
	}
	return k.N.BitLen(), true
}
