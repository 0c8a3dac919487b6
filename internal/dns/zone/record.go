package zone

import (
	"errors"
	"fmt"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// What makes a record unfit for a zone.
var (
	ErrClass    = errors.New("class is not IN")
	ErrMeta     = errors.New("type is for questions and transfers, not for zones")
	ErrEmpty    = errors.New("record data is empty")
	ErrOutside  = errors.New("owner is outside the zone")
	ErrUnfit    = errors.New("record data does not fit its type")
	ErrLongTTL  = errors.New("TTL is above 2147483647") // RFC 2181, Section 8
	ErrTooLarge = errors.New("record does not fit a DNS message")
)

// maxRdata leaves room in a message of 65535 octets for header, question,
// owner and an OPT record.
const maxRdata = 65535 - 12 - 2*(255+4) - 10 - 100

// Normalise returns a copy of rr as it would be read back from the wire:
// owner and names in one spelling, the owner in lower case, the names in the
// RDATA too where RFC 4034, Section 6.2 lists the type. The library keeps
// names as they were typed, so that "\097" and "a" differ and a signature
// over one fails for the other; past this door they cannot.
func Normalise(rr dns.RR) (dns.RR, name.Name, error) {
	h := rr.Header()
	owner, err := name.Parse(h.Name)
	if err != nil {
		return nil, "", fmt.Errorf("owner %q: %w", h.Name, err)
	}
	switch {
	case h.Class != dns.ClassINET:
		return nil, owner, ErrClass
	case isMeta(h.Rrtype):
		return nil, owner, ErrMeta
	case h.Ttl > 1<<31-1:
		return nil, owner, ErrLongTTL
	}
	clean, err := reread(rr)
	if err != nil {
		return nil, owner, err
	}
	clean.Header().Name = owner.String()
	if err := lowerNames(clean); err != nil {
		return nil, owner, err
	}
	return clean, owner, nil
}

// reread packs rr and unpacks it again.
func reread(rr dns.RR) (dns.RR, error) {
	wire, err := pack(rr)
	if err != nil {
		return nil, err
	}
	clean, end, err := dns.UnpackRR(wire, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	size := int(clean.Header().Rdlength)
	if end != len(wire) {
		return nil, ErrUnfit
	}
	// The library takes empty RDATA for any type: only these may have none.
	if t := rr.Header().Rrtype; size == 0 && t != dns.TypeAPL && t != dns.TypeNULL && known(t) {
		return nil, ErrEmpty
	}
	if size > maxRdata {
		return nil, ErrTooLarge
	}
	// RFC 5155, Section 3.1.6: a hash has at least one octet.
	if n, ok := clean.(*dns.NSEC3); ok && n.NextDomain == "" {
		return nil, ErrUnfit
	}
	return clean, nil
}

func known(t uint16) bool {
	_, ok := dns.TypeToRR[t]
	return ok
}

func isMeta(t uint16) bool {
	return t == dns.TypeNone || t == dns.TypeOPT || t >= 128 && t <= 255 // RFC 6895, Section 3.1
}

// pack returns a record in wire form. It goes by way of a message: the library's
// PackRR notes the length in the record, and readers of a zone share records.
func pack(rr dns.RR) ([]byte, error) {
	const header = 12
	m := dns.Msg{Answer: []dns.RR{rr}}
	wire, err := m.PackBuffer(make([]byte, header+dns.Len(rr)+1))
	if err != nil {
		// Len is an estimate; a second try with room enough tells the two
		// kinds of failure apart.
		if wire, err = m.PackBuffer(make([]byte, 1<<17)); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnfit, err)
		}
	}
	return wire[header:], nil
}

// lowerNames rewrites the names in the RDATA of the types of RFC 4034,
// Section 6.2, less those RFC 6840, Section 5.1 took off the list. Types not
// listed keep the letter case they were written with: signatures of others
// over them would fail otherwise.
func lowerNames(rr dns.RR) error {
	var names []*string
	switch r := rr.(type) {
	case *dns.NS:
		names = []*string{&r.Ns}
	case *dns.CNAME:
		names = []*string{&r.Target}
	case *dns.DNAME:
		names = []*string{&r.Target}
	case *dns.PTR:
		names = []*string{&r.Ptr}
	case *dns.MX:
		names = []*string{&r.Mx}
	case *dns.SOA:
		names = []*string{&r.Ns, &r.Mbox}
	case *dns.SRV:
		names = []*string{&r.Target}
	case *dns.NAPTR:
		names = []*string{&r.Replacement}
	case *dns.RP:
		names = []*string{&r.Mbox, &r.Txt}
	case *dns.AFSDB:
		names = []*string{&r.Hostname}
	case *dns.RT:
		names = []*string{&r.Host}
	case *dns.KX:
		names = []*string{&r.Exchanger}
	case *dns.PX:
		names = []*string{&r.Map822, &r.Mapx400}
	case *dns.MINFO:
		names = []*string{&r.Rmail, &r.Email}
	case *dns.MB:
		names = []*string{&r.Mb}
	case *dns.MG:
		names = []*string{&r.Mg}
	case *dns.MR:
		names = []*string{&r.Mr}
	case *dns.MD:
		names = []*string{&r.Md}
	case *dns.MF:
		names = []*string{&r.Mf}
	case *dns.RRSIG:
		names = []*string{&r.SignerName}
	}
	for _, s := range names {
		n, err := name.Parse(*s)
		if err != nil {
			return fmt.Errorf("%w: name %q: %w", ErrUnfit, *s, err)
		}
		*s = n.String()
	}
	return nil
}
