package keyring

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
)

// Delegation is what the parent of a zone is told about one of its keys: most
// registrars want a DS, some the DNSKEY and make the DS themselves.
type Delegation struct {
	DS     []*dns.DS // one of them is enough; the first is the one everybody takes
	DNSKEY *dns.DNSKEY
}

// Delegate returns what the parent is told about a key, which must be a KSK or
// CSK.
func Delegate(key dnssec.Key) (Delegation, error) {
	if !key.SEP() {
		return Delegation{}, fmt.Errorf("key %s signs records only: no DS may point at it", key)
	}
	digests := []uint8{dns.SHA256} // RFC 4509, Section 3: every validator knows it
	if key.Alg == dnssec.ECDSAP384SHA384 {
		// RFC 6605, Section 2: a digest as strong as the key, for who wants it.
		digests = append(digests, dns.SHA384)
	}
	d := Delegation{DNSKEY: key.DNSKEY}
	for _, digest := range digests {
		ds, err := dnssec.DS(key.Zone, key.DNSKEY, digest)
		if err != nil {
			return Delegation{}, fmt.Errorf("DS of key %s: %w", key, err)
		}
		d.DS = append(d.DS, ds)
	}
	return d, nil
}

// String returns the records as lines of a zone file, with comments that say
// in words what a registrar's form asks for.
func (d Delegation) String() string {
	var b strings.Builder
	for _, ds := range d.DS {
		fmt.Fprintf(&b, "; key tag %d, algorithm %d (%s), digest type %d (%s)\n", ds.KeyTag, ds.Algorithm,
			dns.AlgorithmToString[ds.Algorithm], ds.DigestType, digestName(ds.DigestType))
		fmt.Fprintf(&b, "%s IN DS %d %d %d %s\n", ds.Hdr.Name, ds.KeyTag, ds.Algorithm, ds.DigestType, strings.ToUpper(ds.Digest))
	}
	if k := d.DNSKEY; k != nil {
		fmt.Fprintf(&b, "; flags %d, protocol %d, algorithm %d (%s)\n", k.Flags, k.Protocol, k.Algorithm, dns.AlgorithmToString[k.Algorithm])
		fmt.Fprintf(&b, "%s IN DNSKEY %d %d %d %s\n", k.Hdr.Name, k.Flags, k.Protocol, k.Algorithm, k.PublicKey)
	}
	return b.String()
}

func digestName(digest uint8) string {
	if digest == dns.SHA384 {
		return "SHA-384"
	}
	return "SHA-256"
}
