// Command postern guards an organisation's names and mail.
package main

import (
	"os"

	"postern/internal/cli"
)

// version is set by the linker (see the Makefile).
var version = "devel"

func main() { os.Exit(cli.Main(version)) }
