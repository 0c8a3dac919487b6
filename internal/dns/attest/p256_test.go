package attest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"math/big"
	"testing"
)

// fields are numbers that carries and borrows go wrong with, and others.
func fields(t testing.TB) []*big.Int {
	p := elliptic.P256().Params().P
	var all []*big.Int
	for _, shift := range []uint{0, 1, 32, 63, 64, 65, 96, 128, 192, 224, 255} {
		x := new(big.Int).Lsh(big.NewInt(1), shift)
		all = append(all, x, new(big.Int).Sub(x, big.NewInt(1)), new(big.Int).Sub(p, x), new(big.Int).Add(x, big.NewInt(1)))
	}
	for range 40 {
		x, err := rand.Int(rand.Reader, p)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, x)
	}
	return all
}

// Arithmetic modulo the prime is that of math/big.
func TestField(t *testing.T) {
	t.Parallel()
	p := elliptic.P256().Params().P
	of := func(x *big.Int) (f p256Field) {
		f.set(x.FillBytes(make([]byte, 32)))
		return f
	}
	for _, a := range fields(t) {
		for _, b := range fields(t) {
			x, y := of(a), of(b)
			var sum, diff, product p256Field
			sum.add(&x, &y)
			diff.sub(&x, &y)
			product.mul(&x, &y)
			mod := func(z *big.Int) p256Field { return of(z.Mod(z, p)) }
			if sum != mod(new(big.Int).Add(a, b)) || diff != mod(new(big.Int).Sub(a, b)) || product != mod(new(big.Int).Mul(a, b)) {
				t.Fatalf("%x and %x", a, b)
			}
		}
		if x := of(a); a.Sign() != 0 {
			y := x
			y.invert()
			if y.mul(&y, &x); y != p256One {
				t.Fatalf("inverse of %x", a)
			}
		}
	}
}

func p256TestKey(t testing.TB, d *big.Int) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d.FillBytes(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func fast(t testing.TB, k *ecdsa.PrivateKey) *p256Key {
	t.Helper()
	return &p256Key{public: &k.PublicKey, n: elliptic.P256().Params().N}
}

func signed(t testing.TB, k *ecdsa.PrivateKey, sum []byte) []byte {
	t.Helper()
	r, s, err := ecdsa.Sign(rand.Reader, k, sum)
	if err != nil {
		t.Fatal(err)
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

// Signatures by tables are judged as the standard library judges them: good
// ones, each bit of one changed, and keys whose multiples meet the generator's,
// where points are added to themselves and to their negatives.
func TestP256IsTheLibrarys(t *testing.T) {
	t.Parallel()
	n := elliptic.P256().Params().N
	for _, d := range []*big.Int{big.NewInt(1), big.NewInt(2), big.NewInt(256), new(big.Int).Sub(n, big.NewInt(1)), new(big.Int).Sub(n, big.NewInt(2)), new(big.Int).Rsh(n, 1), new(big.Int).Sub(n, big.NewInt(987654321))} {
		key := p256TestKey(t, d)
		k := fast(t, key)
		same := func(sum, sig []byte) bool {
			t.Helper()
			got := k.verify(sum, sig)
			if want := ecdsa.Verify(&key.PublicKey, sum, new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])); got != want {
				t.Fatalf("key %x: %x of %x: %v, the library says %v", d, sig, sum, got, want)
			}
			return got
		}
		for i := range 8 {
			sum := sha256.Sum256([]byte{byte(i)})
			if i == 0 {
				sum = [32]byte{} // nothing of the generator
			}
			sig := signed(t, key, sum[:])
			if !same(sum[:], sig) {
				t.Fatalf("key %x: a good signature is refused", d)
			}
			for bit := range 8 * len(sig) {
				if i > 0 {
					bit = bit*11 + i
				}
				if bit >= 8*len(sig) {
					break
				}
				bad := bytes.Clone(sig)
				bad[bit/8] ^= 1 << (bit % 8)
				if same(sum[:], bad) {
					t.Fatalf("key %x: taken with bit %d changed", d, bit)
				}
			}
		}
		sum := sha256.Sum256([]byte("x"))
		for _, r := range []*big.Int{new(big.Int), big.NewInt(1), new(big.Int).Sub(n, big.NewInt(1)), n, new(big.Int).Add(n, big.NewInt(1))} {
			for _, s := range []*big.Int{new(big.Int), big.NewInt(1), new(big.Int).Sub(n, big.NewInt(1)), n} {
				same(sum[:], append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
			}
		}
	}
}

// crafted makes a signature that holds for the sums u1 and u2 of generator and
// key, so that the point that comes out can be chosen.
func TestP256ChosenPoints(t *testing.T) {
	t.Parallel()
	c := elliptic.P256().Params()
	// The key is the generator: u1+u2 = k gives the point kG. Sums that meet on
	// the way double; u1 = -u2 ends at infinity.
	key := p256TestKey(t, big.NewInt(1))
	k := fast(t, key)
	for _, pair := range [][2]int64{{1, 1}, {1, -1}, {255, 1}, {256, 256}, {257, -257}, {65536, 65536}, {3, 5}, {0, 7}} {
		u1, u2 := new(big.Int).Mod(big.NewInt(pair[0]), c.N), new(big.Int).Mod(big.NewInt(pair[1]), c.N)
		total := new(big.Int).Add(u1, u2)
		total.Mod(total, c.N)
		r := big.NewInt(1)
		if total.Sign() != 0 {
			point, err := p256TestKey(t, total).PublicKey.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			r.SetBytes(point[1:33])
			r.Mod(r, c.N)
		}
		s := new(big.Int).Mul(r, new(big.Int).ModInverse(u2, c.N)) // u2 = r/s
		s.Mod(s, c.N)
		e := new(big.Int).Mul(u1, s) // u1 = e/s
		e.Mod(e, c.N)
		sum, sig := e.FillBytes(make([]byte, 32)), append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		want := total.Sign() != 0
		if lib := ecdsa.Verify(&key.PublicKey, sum, r, s); lib != want || k.verify(sum, sig) != want {
			t.Errorf("%v: want %v, the library says %v", pair, want, lib)
		}
	}
}

func FuzzP256(f *testing.F) {
	key := p256TestKey(f, big.NewInt(123456789))
	k := fast(f, key)
	f.Add([]byte("sum"), []byte("r"), []byte("s"))
	f.Fuzz(func(t *testing.T, sum, r, s []byte) {
		h := sha256.Sum256(sum)
		var sig [64]byte
		copy(sig[:32], r)
		copy(sig[32:], s)
		want := ecdsa.Verify(&key.PublicKey, h[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
		if k.verify(h[:], sig[:]) != want {
			t.Fatalf("%x of %x", sig, h)
		}
	})
}

func BenchmarkP256(b *testing.B) {
	key := p256TestKey(b, big.NewInt(123456789))
	sum := sha256.Sum256([]byte("x"))
	sig := signed(b, key, sum[:])
	k := fast(b, key)
	k.build.Do(k.tables)
	b.Run("tables", func(b *testing.B) {
		for b.Loop() {
			k.verify(sum[:], sig)
		}
	})
	b.Run("library", func(b *testing.B) {
		r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
		for b.Loop() {
			ecdsa.Verify(&key.PublicKey, sum[:], r, s)
		}
	})
	b.Run("making tables", func(b *testing.B) {
		for b.Loop() {
			k.tables()
		}
	})
}
