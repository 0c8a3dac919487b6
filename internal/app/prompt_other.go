//go:build !linux

package app

// prompt does nothing: what it asks for is Linux's.
func prompt() {}
