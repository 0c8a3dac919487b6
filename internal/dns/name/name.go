// Package name holds one word: a domain name in wire form, lower case. Two
// equal names are equal strings, whatever escapes or letter case they were
// written with (RFC 4343), so a Name is a map key and compares with ==.
//
// It is pure and allocates only where a new name is made. It never applies
// IDNA: a name is octets. RFC 1034, Section 3.1; RFC 1035, Sections 3.1, 4.1.4
// and 5.1; RFC 4034, Section 6.1.
package name

import (
	"errors"
	"strings"
)

// Name is an uncompressed domain name in wire form with lower-case letters,
// the final zero octet included. The zero value is not a name.
type Name string

// Root is the name of no labels.
const Root Name = "\x00"

const (
	maxName   = 255 // RFC 1035, Section 2.3.4: octets of a whole name
	maxLabel  = 63
	maxLabels = 127
)

// What is wrong with a name.
var (
	ErrEmpty   = errors.New("empty name")
	ErrLabel   = errors.New("empty label")
	ErrLong    = errors.New("name is longer than 255 octets")
	ErrLabel63 = errors.New("label is longer than 63 octets")
	ErrEscape  = errors.New(`bad escape: \ is followed by a character or by three digits up to 255`)
	ErrWire    = errors.New("malformed name")
)

// Labels returns the number of labels; the root has none.
func (n Name) Labels() int {
	count := 0
	for i := 0; i < len(n) && n[i] != 0; i += 1 + int(n[i]) {
		count++
	}
	return count
}

// First returns the first label as raw octets; "" at the root.
func (n Name) First() string {
	if len(n) <= 1 {
		return ""
	}
	return string(n[1 : 1+int(n[0])])
}

// Parent returns n without its first label; the root is its own parent.
func (n Name) Parent() Name {
	if len(n) <= 1 {
		return Root
	}
	return n[1+int(n[0]):]
}

// Child returns n with one more label in front. The label is raw octets,
// without escapes. It reports false where the label or the name is too long,
// or the label empty.
func (n Name) Child(label string) (Name, bool) {
	if label == "" || len(label) > maxLabel || len(n)+1+len(label) > maxName || n == "" {
		return "", false
	}
	b := make([]byte, 0, 1+len(label)+len(n))
	b = append(b, byte(len(label)))
	for i := range len(label) {
		b = append(b, lower(label[i]))
	}
	return Name(append(b, n...)), true
}

// IsBelow reports whether n is zone or a name below it.
func (n Name) IsBelow(zone Name) bool {
	if zone == "" || len(n) < len(zone) || n[len(n)-len(zone):] != zone {
		return false
	}
	// The octets agree; what is left is that a label begins there.
	for i := 0; i < len(n); i += 1 + int(n[i]) {
		if i == len(n)-len(zone) {
			return true
		}
	}
	return false
}

// IsWildcard reports whether the first label is "*" (RFC 4592, Section 2.1.1).
func (n Name) IsWildcard() bool { return len(n) > 2 && n[0] == 1 && n[1] == '*' }

// Replace returns n with its ending from, which n must stand at or below,
// replaced by to (RFC 6672, Section 2.2). It reports false where the result
// is too long.
func (n Name) Replace(from, to Name) (Name, bool) {
	if !n.IsBelow(from) || to == "" || len(n)-len(from)+len(to) > maxName {
		return "", false
	}
	return n[:len(n)-len(from)] + to, true
}

// Compare orders names canonically, by labels from the right (RFC 4034,
// Section 6.1). A zone stands before all names below it, and these stand
// together.
func (n Name) Compare(m Name) int {
	if n == m {
		return 0
	}
	var no, mo [maxLabels + 1]uint8
	nc, mc := n.offsets(&no), m.offsets(&mo)
	for nc > 0 && mc > 0 {
		nc, mc = nc-1, mc-1
		i, j := int(no[nc]), int(mo[mc])
		a, b := n[i+1:i+1+int(n[i])], m[j+1:j+1+int(m[j])]
		if c := strings.Compare(string(a), string(b)); c != 0 {
			return c
		}
	}
	switch {
	case nc < mc:
		return -1
	case nc > mc:
		return 1
	}
	return 0
}

// AppendKey appends a key of n to dst: keys compare as octets the way names
// compare canonically. It is for sorting many names.
func (n Name) AppendKey(dst []byte) []byte {
	var off [maxLabels + 1]uint8
	for i := n.offsets(&off) - 1; i >= 0; i-- {
		at := int(off[i])
		for _, c := range []byte(n[at+1 : at+1+int(n[at])]) {
			// Zero ends a label, so that a shorter one stands first.
			if c < 2 {
				dst = append(dst, 1)
				c++
			}
			dst = append(dst, c)
		}
		dst = append(dst, 0)
	}
	return dst
}

func (n Name) offsets(o *[maxLabels + 1]uint8) int {
	count := 0
	for i := 0; i < len(n) && n[i] != 0 && count <= maxLabels; i += 1 + int(n[i]) {
		o[count] = uint8(i)
		count++
	}
	return count
}

func lower(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}
