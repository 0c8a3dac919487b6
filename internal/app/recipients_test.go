package app

import (
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/mail/address"
)

// TestRecipientsFollowTheConfiguration: a reload takes a file of recipients, and
// refuses one that is wrong, with everything else.
func TestRecipientsFollowTheConfiguration(t *testing.T) {
	t.Parallel()
	h := build(t)
	exists := func(local string) bool {
		_, refusal := h.app.recipients.Find(t.Context(), address.Address{Local: local, Domain: "city.example"})
		return refusal == nil
	}
	if !exists("nobody") {
		t.Error("any takes not all")
	}
	listed := strings.Replace(houseConfig, `["maildir:mail"]`, "[\"maildir:mail\"]\nrecipients = \"file:people\"", 1)
	h.write("people", "ann\ninfo: bob\n")
	h.write("postern.toml", listed)
	if _, err := h.app.reload(t.Context()); err == nil || !strings.Contains(err.Error(), filepath.Join(h.dir, "people")+":2: bob@city.example is nobody in this file") {
		t.Errorf("a wrong file: %v", err)
	}
	if !exists("nobody") {
		t.Error("a refused reload changed something")
	}
	h.write("people", "ann\nbob\ninfo: bob\n")
	h.reload("recipients of city.example: file:")
	if exists("nobody") || !exists("info") || !exists("postmaster") {
		t.Error("not as the file says")
	}
	if s := h.app.facts().Recipients; len(s) != 1 || s[0].Mode != "file" || s[0].State != "ok" || s[0].Known != 3 {
		t.Errorf("status %+v", s)
	}
}
