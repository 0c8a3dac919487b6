//go:build race

package app

// racing: the detector keeps memory and time of its own.
const racing = true
