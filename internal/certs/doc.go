// Package certs holds the certificate that every TLS door shows: issued by a
// local authority of our own, or read from files that the admin renews.
//
// It never talks to a network and never prints a key. A Keeper owns one
// goroutine, started by Start and ended by Stop, which renews in time. Which
// certificate is shown is an atomic pointer, so a renewal disturbs nobody.
// X.509 use follows RFC 5280 and RFC 9525 (names only in subjectAltName).
package certs
