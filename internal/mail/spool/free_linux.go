package spool

import "golang.org/x/sys/unix"

// freeSpace is what an ordinary user may still write at path, in octets.
func freeSpace(path string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil
}
