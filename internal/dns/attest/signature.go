package attest

import (
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// spot judges the signatures of one name.
func (j *judge) spot(i int, w *worker, f *findings) {
	sp := &j.spots[i]
	sigs := sp.node.Set(dns.TypeRRSIG)
	if sp.place == below {
		j.occluded(sp.node, f)
		return
	}
	sp.strays(f)
	for s := range sp.node.Sets {
		set := &sp.node.Sets[s]
		if set.Type == dns.TypeRRSIG {
			continue
		}
		if sp.place == cut && set.Type != dns.TypeDS && set.Type != dns.TypeNSEC {
			// RFC 4035, Section 2.2: NS and glue at a delegation are the child's.
			for _, rr := range covering(sigs, set.Type) {
				f.add("sig-cut", sp.node.Name, set.Type, "%s at a delegation must not be signed (key %d)", dns.Type(set.Type), rr.KeyTag)
			}
			continue
		}
		j.set(sp.node.Name, set, sigs, w, f)
	}
	j.orphans(sp.node, sigs, f)
}

// occluded finds what the signer put where the zone has no authority.
func (j *judge) occluded(node *zone.Node, f *findings) {
	if node.Set(dns.TypeRRSIG) != nil {
		f.add("sig-below", node.Name, dns.TypeRRSIG, "what lies below a delegation or a DNAME must not be signed")
	}
	if node.Set(dns.TypeNSEC) != nil {
		f.add("nsec-extra", node.Name, dns.TypeNSEC, "the name lies below a delegation or a DNAME and is no part of the chain")
	}
}

// orphans finds signatures over nothing.
func (j *judge) orphans(node *zone.Node, sigs *zone.RRset, f *findings) {
	if sigs == nil {
		return
	}
	last := uint16(0)
	for _, rr := range sigs.RRs {
		s, ok := rr.(*dns.RRSIG)
		if !ok || s.TypeCovered == last {
			continue
		}
		// RFC 4035, Section 2.2: an RRSIG set itself is never signed.
		if node.Set(s.TypeCovered) == nil || s.TypeCovered == dns.TypeRRSIG {
			f.add("sig-orphan", node.Name, s.TypeCovered, "a signature by key %d covers %s, which is not there", s.KeyTag, dns.Type(s.TypeCovered))
		}
		last = s.TypeCovered
	}
}

// covering returns the signatures over one type. RRSIG records are in the
// order of their RDATA, which begins with the type covered.
func covering(sigs *zone.RRset, rrtype uint16) []*dns.RRSIG {
	if sigs == nil {
		return nil
	}
	var room [4]*dns.RRSIG
	out := room[:0]
	for _, rr := range sigs.RRs {
		if s, ok := rr.(*dns.RRSIG); ok && s.TypeCovered == rrtype {
			out = append(out, s)
		}
	}
	return out
}

// set judges the signatures over one RRset: by each algorithm of the zone one
// that holds (RFC 4035, Section 2.2; RFC 6840, Section 5.11), and none that
// does not.
func (j *judge) set(owner name.Name, set *zone.RRset, sigs *zone.RRset, w *worker, f *findings) {
	var good, tried [256 / 64]uint64
	var signers []*key
	var faults []fault
	w.data = w.data[:0]
	all := 0
	if sigs != nil {
		for _, rr := range sigs.RRs {
			s, ok := rr.(*dns.RRSIG)
			if !ok || s.TypeCovered != set.Type {
				continue
			}
			k, wrong := j.signature(owner, set, s, w)
			if wrong.code != "" {
				faults = append(faults, wrong)
			}
			if k != nil && k.outside {
				continue // a validator cannot use it
			}
			all++
			bit := uint64(1) << (s.Algorithm & 63)
			tried[s.Algorithm>>6] |= bit
			if k != nil {
				good[s.Algorithm>>6] |= bit
				if keySet(set.Type) {
					signers = append(signers, k)
				}
			}
		}
	}
	has := func(of *[4]uint64, a uint8) bool { return of[a>>6]>>(a&63)&1 != 0 }
	for _, p := range faults {
		// Someone else's zone may keep an old signature beside the new one.
		if !j.context.Presigned || !has(&good, p.algorithm) || p.code == "sig-short" {
			f.add(p.code, owner, set.Type, "%s", p.text)
		}
	}
	if all == 0 {
		f.add("sig-missing", owner, set.Type, "the records are not signed")
	} else {
		for _, a := range j.algorithms {
			if !has(&tried, a) {
				f.add("sig-algorithm", owner, set.Type, "no signature of algorithm %d, of which the zone has a key", a)
			}
		}
	}
	if owner != j.zone.Origin() || all == 0 {
		return
	}
	switch set.Type {
	case dns.TypeDNSKEY:
		j.trust(signers, f)
		w.entries = signers
	case dns.TypeCDS, dns.TypeCDNSKEY: // behind DNSKEY in the order of sets
		j.trustedAsk(set.Type, signers, w.entries, f)
	}
}

// keySet reports whether the key sets' keys sign sets of the type at the apex
// (RFC 7344, Section 4.1).
func keySet(t uint16) bool { return t == dns.TypeDNSKEY || t == dns.TypeCDS || t == dns.TypeCDNSKEY }

// fault is what is wrong with one signature; without a code nothing is.
type fault struct {
	code, text string
	algorithm  uint8
}

// signature judges one signature over a set. It returns the key by which it
// holds, or nil; and what is wrong with it.
func (j *judge) signature(owner name.Name, set *zone.RRset, s *dns.RRSIG, w *worker) (*key, fault) {
	wrong := func(code, text string) fault { return fault{code, describe(s) + ": " + text, s.Algorithm} }
	origin := j.zone.Origin()
	if signer, err := name.Parse(s.SignerName); err != nil || signer != origin {
		return nil, wrong("sig-signer", "the signer is "+s.SignerName+", not the zone")
	}
	// RFC 4034, Section 3.1.3: without the root and a leading asterisk.
	labels := owner.Labels()
	if owner.IsWildcard() {
		labels--
	}
	if int(s.Labels) != labels {
		return nil, wrong("sig-labels", "the count of labels is not that of the name")
	}
	// RFC 4034, Sections 3 and 3.1.4.
	if s.OrigTtl != set.TTL || s.Hdr.Ttl != set.TTL {
		return nil, wrong("sig-ttl", "the TTLs of the signature and of what it covers differ")
	}
	// RFC 4034, Section 3.1.5: times are compared as serials are.
	left := int32(s.Expiration - j.now)
	switch {
	case int32(j.now-s.Inception) < 0:
		return nil, wrong("sig-early", "it holds from "+stamp(s.Inception))
	case left < 0:
		return nil, wrong("sig-expired", "it held until "+stamp(s.Expiration))
	}
	k, fatal := j.hold(owner, set, s, w)
	switch {
	case fatal == "sig-key":
		return nil, wrong(fatal, "no key of the zone is its signer")
	case fatal != "":
		return nil, wrong(fatal, "it does not match the records")
	case uint32(left) < j.until:
		return k, wrong("sig-short", "it holds until "+stamp(s.Expiration)+", which is too soon")
	}
	return k, fault{}
}

// maxAlike is how many keys of one tag a signature is tried with. Two are chance;
// more are made to keep validators busy, and these give up too.
const maxAlike = 4

// hold finds the key by which a signature holds, or the code of why there is
// none.
func (j *judge) hold(owner name.Name, set *zone.RRset, s *dns.RRSIG, w *worker) (*key, string) {
	var err error
	w.sig, err = base64.StdEncoding.AppendDecode(w.sig[:0], []byte(s.Signature))
	if err != nil {
		return nil, "sig-wrong"
	}
	code, tries := "sig-key", 0
	for i := range len(j.keys) + len(j.outside) {
		k := j.anyKey(i)
		if k.tag != s.KeyTag || k.rr.Algorithm != s.Algorithm {
			continue
		}
		// RFC 5011, Section 2.1: a revoked key signs but the key set.
		if revoked := k.rr.Flags&dns.REVOKE != 0 && k.verify != nil && set.Type == dns.TypeDNSKEY; !k.signs() && !revoked {
			continue
		}
		if tries++; tries > maxAlike {
			break
		}
		code = "sig-wrong"
		if w.data, err = j.signedData(w.data, owner, set, s); err != nil {
			return nil, code
		}
		if k.verify(w.data, w.sig) {
			return k, ""
		}
	}
	return nil, code
}

// signedData makes what a signature is over (RFC 4034, Section 3.1.8.1). The
// records are the same for each signature over a set: what data holds of them
// stays.
func (j *judge) signedData(data []byte, owner name.Name, set *zone.RRset, s *dns.RRSIG) ([]byte, error) {
	head := 18 + len(j.zone.Origin())
	if len(data) > 0 {
		_, err := appendSigned(data[:0], s)
		return data, err
	}
	data, err := appendSigned(data, s)
	if err != nil || len(data) != head {
		return data[:0], errText
	}
	for _, rr := range set.RRs {
		at := len(data)
		if data, err = appendRecord(data, owner, rr); err != nil {
			return data[:0], err
		}
		binary.BigEndian.PutUint32(data[at+len(owner)+4:], s.OrigTtl)
	}
	return data, nil
}

func describe(s *dns.RRSIG) string {
	return "signature by key " + strconv.Itoa(int(s.KeyTag)) + " of algorithm " + strconv.Itoa(int(s.Algorithm))
}

func stamp(t uint32) string { return time.Unix(int64(t), 0).UTC().Format("2006-01-02 15:04:05") }
