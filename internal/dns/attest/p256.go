package attest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"math/big"
	"sync"
	"sync/atomic"
)

const p256Size = 32

// manySignatures is from how many signatures on a key's multiples pay: they
// cost as much as some hundred and fifty verifications.
const manySignatures = 256

// p256Key verifies signatures of one key (RFC 6605, Section 4). The first it
// gives to the standard library. Who has a whole zone to verify asks the same
// key a hundred thousand times: then the multiples of the key and of the
// generator are worth a table, with which a verification is additions alone.
// All that is worked on here is public, so time may tell of it.
type p256Key struct {
	public *ecdsa.PublicKey
	asked  atomic.Int64
	build  sync.Once
	g, q   *p256Table
	n      *big.Int
}

// newP256 reads a key; nil where it is none.
func newP256(public []byte) verifier {
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, public...))
	if err != nil {
		return nil
	}
	k := &p256Key{public: pub, n: elliptic.P256().Params().N}
	return func(data, sig []byte) bool {
		if len(sig) != 2*p256Size {
			return false
		}
		sum := sha256.Sum256(data)
		if k.asked.Add(1) <= manySignatures {
			return ecdsa.Verify(pub, sum[:], new(big.Int).SetBytes(sig[:p256Size]), new(big.Int).SetBytes(sig[p256Size:]))
		}
		return k.verify(sum[:], sig)
	}
}

// tables makes the multiples once.
func (k *p256Key) tables() {
	c := elliptic.P256().Params()
	point, err := k.public.Bytes()
	if err != nil {
		return // it was read from octets: it has some
	}
	k.g = newP256Table(c.Gx.FillBytes(make([]byte, p256Size)), c.Gy.FillBytes(make([]byte, p256Size)))
	k.q = newP256Table(point[1:1+p256Size], point[1+p256Size:])
}

// verify verifies an ECDSA signature (FIPS 186-5, Section 6.4.2).
func (k *p256Key) verify(sum, sig []byte) bool {
	if k.build.Do(k.tables); k.q == nil {
		return false
	}
	var r, s, u big.Int
	r.SetBytes(sig[:p256Size])
	s.SetBytes(sig[p256Size:])
	if r.Sign() == 0 || s.Sign() == 0 || r.Cmp(k.n) >= 0 || s.Cmp(k.n) >= 0 {
		return false
	}
	s.ModInverse(&s, k.n)
	var at p256Point
	var scalar [p256Size]byte
	u.Mod(u.Mul(u.SetBytes(sum), &s), k.n)
	k.g.addMultiple(&at, u.FillBytes(scalar[:]))
	u.Mod(u.Mul(&r, &s), k.n)
	k.q.addMultiple(&at, u.FillBytes(scalar[:]))
	return at.hasX(&r, k.n)
}

// hasX reports whether the point's x is r modulo n, which is below p: x is r or
// r+n. The point is not at infinity.
func (p *p256Point) hasX(r, n *big.Int) bool {
	if p.z.isZero() {
		return false
	}
	prime := elliptic.P256().Params().P
	var zz p256Field
	zz.mul(&p.z, &p.z)
	for x := new(big.Int).Set(r); x.Cmp(prime) < 0; x.Add(x, n) {
		var want p256Field
		want.set(x.FillBytes(make([]byte, p256Size)))
		if want.mul(&want, &zz); want == p.x {
			return true
		}
	}
	return false
}

// p256Table has the multiples of a point by each octet at each place of a
// scalar, the last octet first; by zero there is none.
type p256Table [p256Size][255]p256Affine

type p256Affine struct{ x, y p256Field }

// p256Point is a point in Jacobian coordinates; z is zero at infinity.
type p256Point struct{ x, y, z p256Field }

func newP256Table(x, y []byte) *p256Table {
	t := new(p256Table)
	var base p256Affine
	base.x.set(x)
	base.y.set(y)
	for place := range t {
		var row [256]p256Point // the last is the base of the next place
		var at p256Point
		for i := range row {
			at.add(&base)
			row[i] = at
		}
		base = toAffine(&row, &t[place])
	}
	return t
}

// toAffine divides by each z with one inversion for all. It returns the last.
func toAffine(row *[256]p256Point, to *[255]p256Affine) (last p256Affine) {
	var products [256]p256Field
	all := p256One
	for i := range row {
		products[i] = all
		all.mul(&all, &row[i].z) // never zero: the group's order is a prime beyond all of these
	}
	all.invert()
	for i := len(row) - 1; i >= 0; i-- {
		var a p256Affine
		var zi, zz p256Field
		zi.mul(&all, &products[i])
		all.mul(&all, &row[i].z)
		zz.mul(&zi, &zi)
		a.x.mul(&row[i].x, &zz)
		zz.mul(&zz, &zi)
		a.y.mul(&row[i].y, &zz)
		if i < len(to) {
			to[i] = a
		} else {
			last = a
		}
	}
	return last
}

// addMultiple adds the multiple by a scalar of 32 octets.
func (t *p256Table) addMultiple(to *p256Point, scalar []byte) {
	for i, octet := range scalar {
		if octet != 0 {
			to.add(&t[p256Size-1-i][octet-1])
		}
	}
}

// add adds a point, with the formulas for Jacobian and affine coordinates.
func (p *p256Point) add(q *p256Affine) {
	if p.z.isZero() {
		p.x, p.y, p.z = q.x, q.y, p256One
		return
	}
	var zz, h, r, hh, hhh, v, t p256Field
	zz.mul(&p.z, &p.z)
	h.mul(&q.x, &zz)
	h.sub(&h, &p.x)
	r.mul(&q.y, &p.z)
	r.mul(&r, &zz)
	r.sub(&r, &p.y)
	if h.isZero() {
		if r.isZero() {
			p.double()
		} else {
			*p = p256Point{} // the one is the other's negative
		}
		return
	}
	hh.mul(&h, &h)
	hhh.mul(&hh, &h)
	v.mul(&p.x, &hh)
	p.z.mul(&p.z, &h)
	p.x.mul(&r, &r)
	p.x.sub(&p.x, &hhh)
	p.x.sub(&p.x, &v)
	p.x.sub(&p.x, &v)
	t.sub(&v, &p.x)
	t.mul(&t, &r)
	hhh.mul(&hhh, &p.y)
	p.y.sub(&t, &hhh)
}

// double doubles a point that is not at infinity; a is -3.
func (p *p256Point) double() {
	var zz, yy, xyy, m, t p256Field
	zz.mul(&p.z, &p.z)
	yy.mul(&p.y, &p.y)
	xyy.mul(&p.x, &yy)
	t.add(&p.x, &zz)
	m.sub(&p.x, &zz)
	m.mul(&m, &t)
	t.add(&m, &m)
	m.add(&m, &t) // 3(x-z^2)(x+z^2)
	p.z.mul(&p.z, &p.y)
	p.z.add(&p.z, &p.z)
	xyy.add(&xyy, &xyy)
	xyy.add(&xyy, &xyy)
	p.x.mul(&m, &m)
	p.x.sub(&p.x, &xyy)
	p.x.sub(&p.x, &xyy)
	t.sub(&xyy, &p.x)
	p.y.mul(&m, &t)
	yy.add(&yy, &yy)
	yy.mul(&yy, &yy)
	yy.add(&yy, &yy)
	p.y.sub(&p.y, &yy)
}
