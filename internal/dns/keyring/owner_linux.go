package keyring

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// checkOwner refuses what another user could have put there or may change.
func checkOwner(info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if us := os.Geteuid(); ok && int(st.Uid) != us {
		return fmt.Errorf("%w: user %d; Postern runs as %d (hint: chown it)", ErrOwner, st.Uid, us)
	}
	return nil
}
