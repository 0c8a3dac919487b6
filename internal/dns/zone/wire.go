package zone

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// AppendWire appends a normalised record in uncompressed wire form; owner is
// its owner name.
func AppendWire(to []byte, owner name.Name, rr dns.RR) ([]byte, error) {
	return appendRest(append(to, owner...), rr)
}

// AppendRecord is AppendWire with the owner that the record has.
func AppendRecord(to []byte, rr dns.RR) ([]byte, error) {
	to, err := name.AppendParsed(to, rr.Header().Name)
	if err != nil {
		return to, err
	}
	return appendRest(to, rr)
}

// appendRest appends what follows the owner.
func appendRest(to []byte, rr dns.RR) ([]byte, error) {
	h := rr.Header()
	to = binary.BigEndian.AppendUint16(to, h.Rrtype)
	to = binary.BigEndian.AppendUint16(to, h.Class)
	to = binary.BigEndian.AppendUint32(to, h.Ttl)
	at := len(to)
	to, err := appendRdata(append(to, 0, 0), rr)
	if err != nil {
		return to, err
	}
	binary.BigEndian.PutUint16(to[at:], uint16(len(to)-at-2))
	return to, nil
}

// AppendRdata appends the RDATA of a normalised record in uncompressed wire
// form. The record is only read from.
func AppendRdata(to []byte, rr dns.RR) ([]byte, error) { return appendRdata(to, rr) }

// appendRdata appends the RDATA of a normalised record in wire form. Large
// zones consist of addresses, names and texts: these are written here, the
// rest by the library.
func appendRdata(to []byte, rr dns.RR) ([]byte, error) {
	text := ""
	switch r := rr.(type) {
	case *dns.A:
		if ip := r.A.To4(); ip != nil {
			return append(to, ip...), nil
		}
	case *dns.AAAA:
		if ip := r.AAAA.To16(); ip != nil {
			return append(to, ip...), nil
		}
	case *dns.NS:
		text = r.Ns
	case *dns.CNAME:
		text = r.Target
	case *dns.PTR:
		text = r.Ptr
	case *dns.MX:
		to, text = binary.BigEndian.AppendUint16(to, r.Preference), r.Mx
	case *dns.RRSIG: // of a signed zone, most records
		return appendRRSIG(to, r)
	}
	if text != "" {
		whole, err := name.AppendParsed(to, text)
		if err != nil {
			return to, fmt.Errorf("%w: name %q: %w", ErrUnfit, text, err)
		}
		return whole, nil
	}
	wire, err := pack(rr)
	if err != nil {
		return to, err
	}
	_, off, err := name.FromWire(wire, 0)
	if err != nil || len(wire) < off+10 {
		return to, ErrUnfit
	}
	return append(to, wire[off+10:]...), nil
}

// appendRRSIG appends the RDATA of a signature (RFC 4034, Section 3.1).
func appendRRSIG(to []byte, r *dns.RRSIG) ([]byte, error) {
	to = append(binary.BigEndian.AppendUint16(to, r.TypeCovered), r.Algorithm, r.Labels)
	to = binary.BigEndian.AppendUint32(to, r.OrigTtl)
	to = binary.BigEndian.AppendUint32(to, r.Expiration)
	to = binary.BigEndian.AppendUint32(to, r.Inception)
	to = binary.BigEndian.AppendUint16(to, r.KeyTag)
	to, err := name.AppendParsed(to, r.SignerName)
	if err != nil {
		return to, fmt.Errorf("%w: signer %q: %w", ErrUnfit, r.SignerName, err)
	}
	whole, err := base64.StdEncoding.AppendDecode(to, []byte(r.Signature))
	if err != nil {
		return to, fmt.Errorf("%w: signature: %w", ErrUnfit, err)
	}
	return whole, nil
}

// rdata returns the RDATA of a normalised record in wire form.
func rdata(rr dns.RR) (string, error) {
	var room [64]byte
	wire, err := appendRdata(room[:0], rr)
	return string(wire), err
}

// sameRdata reports whether two normalised records of one type hold the same.
func sameRdata(a, b dns.RR) bool {
	switch x := a.(type) {
	case *dns.A:
		if y, ok := b.(*dns.A); ok && len(x.A) == len(y.A) {
			return string(x.A) == string(y.A)
		}
	case *dns.AAAA:
		if y, ok := b.(*dns.AAAA); ok && len(x.AAAA) == len(y.AAAA) {
			return string(x.AAAA) == string(y.AAAA)
		}
	case *dns.NS:
		if y, ok := b.(*dns.NS); ok {
			return x.Ns == y.Ns
		}
	case *dns.CNAME:
		if y, ok := b.(*dns.CNAME); ok {
			return x.Target == y.Target
		}
	case *dns.PTR:
		if y, ok := b.(*dns.PTR); ok {
			return x.Ptr == y.Ptr
		}
	case *dns.MX:
		if y, ok := b.(*dns.MX); ok {
			return x.Preference == y.Preference && x.Mx == y.Mx
		}
	}
	var x, y [64]byte
	p, errP := appendRdata(x[:0], a)
	q, errQ := appendRdata(y[:0], b)
	return errP == nil && errQ == nil && string(p) == string(q)
}
