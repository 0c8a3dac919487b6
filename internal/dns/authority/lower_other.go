//go:build !linux

package authority

// lower does nothing: priorities belong to processes here.
func lower() error { return nil }
