package attest

import (
	"encoding/binary"
	"math/bits"
)

// p256Field is a number modulo the prime of P-256, 2^256-2^224+2^192+2^96-1, in
// Montgomery form: times 2^256, below the prime, the lowest word first.
type p256Field [4]uint64

var (
	p256One = p256Field{1, 0xffffffff00000000, 0xffffffffffffffff, 0xfffffffe}  // 2^256
	p256RR  = p256Field{3, 0xfffffffbffffffff, 0xfffffffffffffffe, 0x4fffffffd} // 2^512
)

// The words of the prime; the third is zero.
const (
	prime0 = 0xffffffffffffffff
	prime1 = 0x00000000ffffffff
	prime3 = 0xffffffff00000001
)

func (f *p256Field) isZero() bool { return f[0]|f[1]|f[2]|f[3] == 0 }

// set reads 32 octets, a number below the prime.
func (f *p256Field) set(b []byte) {
	for i := range f {
		f[i] = binary.BigEndian.Uint64(b[24-8*i:])
	}
	f.mul(f, &p256RR)
}

func (f *p256Field) add(a, b *p256Field) {
	var c uint64
	t0, c := bits.Add64(a[0], b[0], 0)
	t1, c := bits.Add64(a[1], b[1], c)
	t2, c := bits.Add64(a[2], b[2], c)
	t3, c := bits.Add64(a[3], b[3], c)
	f.reduce(t0, t1, t2, t3, c)
}

func (f *p256Field) sub(a, b *p256Field) {
	t0, c := bits.Sub64(a[0], b[0], 0)
	t1, c := bits.Sub64(a[1], b[1], c)
	t2, c := bits.Sub64(a[2], b[2], c)
	t3, c := bits.Sub64(a[3], b[3], c)
	m := -c // all ones where the prime must be added
	f[0], c = bits.Add64(t0, m, 0)
	f[1], c = bits.Add64(t1, m&prime1, c)
	f[2], c = bits.Add64(t2, 0, c)
	f[3], _ = bits.Add64(t3, m&prime3, c)
}

// reduce takes the prime off a number below twice the prime, where it fits.
func (f *p256Field) reduce(t0, t1, t2, t3, t4 uint64) {
	r0, c := bits.Sub64(t0, prime0, 0)
	r1, c := bits.Sub64(t1, prime1, c)
	r2, c := bits.Sub64(t2, 0, c)
	r3, c := bits.Sub64(t3, prime3, c)
	_, c = bits.Sub64(t4, 0, c)
	m := -c // all ones where it did not fit
	f[0], f[1], f[2], f[3] = r0^m&(r0^t0), r1^m&(r1^t1), r2^m&(r2^t2), r3^m&(r3^t3)
}

// mul is Montgomery's product, a*b/2^256. The prime's lowest word is -1, so
// that each step of the reduction adds the lowest word times the prime: times
// 2^96, and times its highest word 192 bits up; the lowest word becomes zero.
func (f *p256Field) mul(a, b *p256Field) {
	var t0, t1, t2, t3, t4 uint64
	for i := range 4 {
		x := a[i]
		var c, o uint64
		h0, l0 := bits.Mul64(x, b[0])
		h1, l1 := bits.Mul64(x, b[1])
		h2, l2 := bits.Mul64(x, b[2])
		h3, l3 := bits.Mul64(x, b[3])
		t0, c = bits.Add64(t0, l0, 0)
		t1, c = bits.Add64(t1, l1, c)
		t2, c = bits.Add64(t2, l2, c)
		t3, c = bits.Add64(t3, l3, c)
		t4, o = bits.Add64(t4, 0, c)
		t1, c = bits.Add64(t1, h0, 0)
		t2, c = bits.Add64(t2, h1, c)
		t3, c = bits.Add64(t3, h2, c)
		t4, c = bits.Add64(t4, h3, c)
		o += c

		m := t0
		hi, lo := bits.Mul64(m, prime3)
		t1, c = bits.Add64(t1, m<<32, 0)
		t2, c = bits.Add64(t2, m>>32, c)
		t3, c = bits.Add64(t3, lo, c)
		t4, c = bits.Add64(t4, hi, c)
		t0, t1, t2, t3, t4 = t1, t2, t3, t4, o+c
	}
	f.reduce(t0, t1, t2, t3, t4)
}

// invert raises to the prime less two (Fermat).
func (f *p256Field) invert() {
	exponent := [4]uint64{prime0 - 2, prime1, 0, prime3}
	x, out := *f, p256One
	for i := range 256 {
		if exponent[i/64]>>(i%64)&1 != 0 {
			out.mul(&out, &x)
		}
		x.mul(&x, &x)
	}
	*f = out
}
