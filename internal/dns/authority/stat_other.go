//go:build !linux

package authority

import (
	"fmt"
	"io/fs"
)

// fileSignature changes when the file's size or modification time does.
func fileSignature(info fs.FileInfo) string {
	return fmt.Sprintf("%d.%d", info.Size(), info.ModTime().UnixNano())
}
