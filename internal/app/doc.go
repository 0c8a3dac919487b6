// Package app is the wiring: it turns a checked configuration into running
// parts, in an order one can read from top to bottom, swaps them on a reload
// and stops them in reverse. It is ordinary code: no registry, no init, no
// globals; tests and benchmarks start the real thing through it.
//
// It decides nothing about names or mail. It is the only place besides the
// command line that knows the configuration, and the only one where the two
// wings meet.
package app
