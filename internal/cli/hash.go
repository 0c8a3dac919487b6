package cli

import (
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"postern/internal/argon"
)

const hashCommand = "hash"

// hashing is how the server calls this program to hash passwords for it, or nil
// where it cannot.
func hashing() []string {
	if runtime.GOOS == "linux" {
		// The very file that runs, also when it has been replaced or removed.
		return []string{"/proc/self/exe", hashCommand}
	}
	program, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{program, hashCommand}
}

// hash is the server's, for itself.
func (e *env) hash() *cobra.Command {
	return &cobra.Command{
		Use:    hashCommand,
		Short:  "Hash passwords for the server that has started this",
		Args:   exactly(0, "no arguments"),
		Hidden: true,
		RunE:   func(*cobra.Command, []string) error { return argon.Serve(e.in, e.out) },
	}
}
