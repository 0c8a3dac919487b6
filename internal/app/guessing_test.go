package app

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"net/textproto"
	"strings"
	"testing"
)

// Somebody in a network of the user's own guesses as fast as he can. The lockout
// does not stop him, since it would stop the user; the rates of the listener do:
// errors_per_minute, which half a minute gives back by half. The user logs in
// meanwhile, and he and the postmaster are told.
func TestGuessesFromAKnownNetworkAreBounded(t *testing.T) {
	t.Parallel()
	h := buildWith(t, strings.Replace(submitConfig, "exempt = [\"loopback\"]", "errors_per_minute = 20", 1)+"[accounts]\nlockout = \"2/10m\"\n", nil)
	if _, err := h.app.accounts.Create(t.Context(), anna, annaPassword, nil); err != nil {
		t.Fatal(err)
	}
	if code := h.loginFrom("127.0.0.1", annaPassword); code != 235 {
		t.Fatal(code)
	}
	tried, turnedAway := 0, 0
	for turnedAway < 10 {
		switch code := h.loginFrom("127.0.0.66", "a wrong guess"); code {
		case 535:
			tried++
		case 421:
			turnedAway++
		default:
			t.Fatalf("%d", code)
		}
		if tried > 200 {
			t.Fatal("nothing bounds the guesses")
		}
	}
	if tried < 20 {
		t.Errorf("%d guesses were tried: the lockout has stopped them", tried)
	}
	if n := h.app.accounts.Counters.LoginSpared.Value(); n != uint64(tried-1) {
		t.Errorf("%d counted as spared of %d", n, tried)
	}
	if code := h.loginFrom("127.0.0.1", annaPassword); code != 235 {
		t.Errorf("the user meanwhile: %d", code)
	}
	h.notices(map[string]string{anna: "Many failed logins to your mail account", "postmaster@city.example": "Many failed logins to account " + anna})
}

// loginFrom tries once, on a connection of its own, and returns what was said.
func (h *house) loginFrom(from, password string) int {
	h.t.Helper()
	for k, s := range h.app.doors.servers {
		if k.name != "submission" {
			continue
		}
		d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		conn, err := tls.DialWithDialer(d, "tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil { // turned away before the handshake, which leaves no room for a word
			return 421
		}
		defer conn.Close()
		c := talker{textproto.NewConn(conn)}
		code, _, err1 := c.hears()
		if code == 421 {
			return code
		}
		_, _, err2 := c.says("EHLO laptop")
		code, _, err3 := c.says("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+anna+"\x00"+password)))
		if err := errors.Join(err1, err2, err3); err != nil {
			h.t.Fatal(err)
		}
		return code
	}
	h.t.Fatal("no submission listener")
	return 0
}
