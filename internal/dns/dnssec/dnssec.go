// Package dnssec holds what signing, proving and validating share: the
// canonical form of records and sets, keys, the signature over one RRset and
// its verification, DS digests, NSEC3 hashes, type bitmaps, and which names a
// denial covers.
//
// It is pure: no disk, no clock, no goroutine, and it knows no zone as a whole
// (see dns/signer for that). Private keys are used through crypto.Signer only
// and are never held as octets. RFC 4034; RFC 4035, Section 5.3; RFC 5155,
// Section 5; RFC 5702; RFC 6605; RFC 6840; RFC 8080; RFC 9276.
package dnssec

import "errors"

// What is wrong with a key or a signature.
var (
	ErrAlgorithm = errors.New("algorithm is not supported")
	ErrKey       = errors.New("key is malformed")
	ErrMismatch  = errors.New("signature is not for this set and key")
	ErrLabels    = errors.New("signature counts more labels than the owner has")
	ErrTime      = errors.New("signature is not valid at this time")
	ErrSignature = errors.New("signature is wrong")
	ErrToken     = errors.New("signer gave an unusable signature")
)

// Algorithms in use (RFC 9904 recommends them). RSASHA512 is verified, never
// made.
const (
	RSASHA256       = 8
	RSASHA512       = 10
	ECDSAP256SHA256 = 13
	ECDSAP384SHA384 = 14
	ED25519         = 15
)

// Flags of a DNSKEY (RFC 4034, Section 2.1.1).
const (
	FlagSEP    = 1 << 0
	FlagRevoke = 1 << 7 // RFC 5011, Section 7
	FlagZone   = 1 << 8
)
