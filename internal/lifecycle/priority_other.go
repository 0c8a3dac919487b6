//go:build !linux

package lifecycle

// StandBack does nothing: priorities belong to processes here.
func StandBack() error { return nil }
