package authority

import (
	"fmt"
	"io/fs"
	"syscall"
)

// fileSignature changes whenever the file does. The change time finds edits
// that kept size and modification time.
func fileSignature(info fs.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Sprintf("%d.%d", info.Size(), info.ModTime().UnixNano())
	}
	return fmt.Sprintf("%d.%d.%d.%d.%d", st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano())
}
