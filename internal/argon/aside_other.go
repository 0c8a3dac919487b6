//go:build !linux

package argon

import "os/exec"

func start(cmd *exec.Cmd) error { return cmd.Start() }
