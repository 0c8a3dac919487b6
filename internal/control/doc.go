// Package control is the unix socket through which the command line reaches a
// running Postern: JSON lines in both directions, callers known by the
// credentials the kernel gives (SO_PEERCRED), a bounded number of them, and
// the client for the other end.
//
// It decides only who may talk; what is done is manage's business. A Server
// owns an accept goroutine and one per connection, all ended by Stop.
package control
