package app

import "testing"

// TestScannersFollowTheConfiguration: a reload takes them, and says so.
func TestScannersFollowTheConfiguration(t *testing.T) {
	t.Parallel()
	h := build(t)
	h.write("postern.toml", houseConfig+`
[[mail.scanner]]
kind    = "clamd"
address = "unix:clamd.ctl"
doors   = ["submission", "mx"]
[[mail.scanner]]
kind    = "rspamd"
address = "127.0.0.1:11333"
fail    = "accept"
timeout = "5s"
`)
	h.reload("scanner 1: new, clamd at "+h.dir, "clamd.ctl, fail defer, timeout 30s, doors [mx submission]", "scanner 2: new, rspamd at 127.0.0.1:11333, fail accept, timeout 5s, doors [mx relay submission]")
}
