//go:build !linux

package keyring

import "io/fs"

// checkOwner has nothing to ask here.
func checkOwner(fs.FileInfo) error { return nil }
