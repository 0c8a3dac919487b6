package view

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// candidate is a view that holds an address.
type candidate struct {
	view  uint16 // its index
	exact bool   // by a prefix that says more than "any"
}

// ranges tells which views hold an address, in their order of precedence. The
// addresses of each family are cut at every first and last address of a
// prefix, so that a query costs one search by halving, however many prefixes
// there are.
type ranges struct {
	v4, v6 family
}

// family is the ranges of one address family: the i-th begins at starts[i]
// and ends before the next; the first begins at zero.
type family struct {
	starts []address
	short  []uint32    // starts, of IPv4
	first  [257]uint32 // and which of them holds each x.0.0.0; at the end the last
	held   [][]candidate
}

// address is an address as a number.
type address struct{ hi, lo uint64 }

func (a address) less(b address) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

// number returns the address without its zone; client is not IPv4-mapped.
func number(client netip.Addr) address {
	if client.Is4() {
		b := client.As4()
		return address{lo: uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := client.As16()
	return address{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// after returns the address that follows the last one of the prefix; ok is
// false where there is none.
func after(p netip.Prefix) (next address, ok bool) {
	a := number(p.Masked().Addr())
	host := p.Addr().BitLen() - p.Bits()
	switch {
	case p.Addr().Is4():
		a.lo += 1 << host
		return a, a.lo < 1<<32
	case host >= 64:
		add := uint64(1) << (host - 64) // 0 for host 128: the whole space
		a.hi += add
		return a, host < 128 && a.hi >= add
	}
	add := uint64(1) << host
	a.lo += add
	if a.lo < add {
		a.hi++
	}
	return a, a != address{}
}

// newRanges returns the ranges of these views.
func newRanges(views []Selected) ranges {
	return ranges{v4: newFamily(views, true), v6: newFamily(views, false)}
}

func newFamily(views []Selected, is4 bool) family {
	f := family{starts: []address{{}}}
	for i := range views {
		for _, p := range views[i].Clients {
			if p.Addr().Is4() == is4 && p.IsValid() {
				f.starts = append(f.starts, number(p.Masked().Addr()))
				if next, ok := after(p); ok {
					f.starts = append(f.starts, next)
				}
			}
		}
	}
	slices.SortFunc(f.starts, func(a, b address) int {
		switch {
		case a.less(b):
			return -1
		case b.less(a):
			return 1
		}
		return 0
	})
	f.starts = slices.Compact(f.starts)
	for _, a := range f.starts {
		if is4 {
			f.short = append(f.short, uint32(a.lo))
		}
	}
	for octet, at := 0, 0; is4 && octet < len(f.first); octet++ {
		for at+1 < len(f.starts) && f.starts[at+1].lo <= uint64(octet)<<24 {
			at++
		}
		f.first[octet] = uint32(at)
	}
	f.held = make([][]candidate, len(f.starts))
	for i := range views {
		f.add(uint16(i), views[i].Clients, is4)
	}
	return f
}

// add notes the view in all ranges that its prefixes hold.
func (f *family) add(view uint16, clients []netip.Prefix, is4 bool) {
	for _, p := range clients {
		if p.Addr().Is4() != is4 || !p.IsValid() {
			continue
		}
		next, bounded := after(p)
		for at := f.find(number(p.Masked().Addr())); at < len(f.starts) && (!bounded || f.starts[at].less(next)); at++ {
			held := f.held[at]
			if n := len(held); n == 0 || held[n-1].view != view {
				f.held[at] = append(held, candidate{view: view, exact: p.Bits() > 0})
			} else if p.Bits() > 0 {
				held[n-1].exact = true
			}
		}
	}
}

// find returns the number of the range that holds the address.
func (f *family) find(a address) int {
	lo, hi := 0, len(f.starts)
	for hi-lo > 1 {
		if mid := int(uint(lo+hi) / 2); a.less(f.starts[mid]) {
			hi = mid
		} else {
			lo = mid
		}
	}
	return lo
}

// find4 is find for IPv4. Most first octets have no prefix to search among.
func (f *family) find4(a uint32) int {
	lo, hi := int(f.first[a>>24]), int(f.first[a>>24+1])+1
	for hi-lo > 1 {
		if mid := int(uint(lo+hi) / 2); a < f.short[mid] {
			hi = mid
		} else {
			lo = mid
		}
	}
	return lo
}

// of returns the views that hold the address.
func (r *ranges) of(client netip.Addr) []candidate {
	if client.Is4() || client.Is4In6() {
		b := client.As4()
		return r.v4.held[r.v4.find4(binary.BigEndian.Uint32(b[:]))]
	}
	if !client.IsValid() {
		return nil
	}
	return r.v6.held[r.v6.find(number(client))]
}
