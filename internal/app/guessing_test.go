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
	tried := h.guesses("127.0.0.66", anna)
	if n := h.app.accounts.Counters.LoginSpared.Value(); n != uint64(tried-1) {
		t.Errorf("%d counted as spared of %d", n, tried)
	}
	if code := h.loginFrom("127.0.0.1", annaPassword); code != 235 {
		t.Errorf("the user meanwhile: %d", code)
	}
	h.notices(map[string]string{anna: "Many failed logins to your mail account", "postmaster@city.example": "Many failed logins to account " + anna})
}

// A webmail that is exempt from limits, as it should not be, gave all its users
// the passwords of all others to guess: each is known from its network, so that
// no lockout holds, and no rate of its address did. Other users log in meanwhile.
func TestGuessesFromAnExemptAddressAreBounded(t *testing.T) {
	t.Parallel()
	h := buildWith(t, strings.Replace(submitConfig, "exempt = [\"loopback\"]", "exempt = [\"loopback\"]\nerrors_per_minute = 20", 1)+"[accounts]\nlockout = \"2/10m\"\n", nil)
	const ben = "ben@city.example"
	for _, login := range []string{anna, ben} {
		if _, err := h.app.accounts.Create(t.Context(), login, annaPassword, nil); err != nil {
			t.Fatal(err)
		}
		if code := h.loginAs(login, "127.0.0.1", annaPassword); code != 235 {
			t.Fatal(code)
		}
	}
	h.guesses("127.0.0.1", anna, "ANNA@city.example", "\"anna\"@City.example")
	if code := h.loginAs(ben, "127.0.0.1", annaPassword); code != 235 {
		t.Errorf("another user meanwhile: %d", code)
	}
	if code := h.loginAs(anna, "127.0.0.66", annaPassword); code != 235 {
		t.Errorf("the user from another address of the network: %d", code)
	}
}

// guesses tries wrong passwords of these logins in turn until ten are turned away
// by a rate, and returns how many were tried.
func (h *house) guesses(from string, logins ...string) (tried int) {
	h.t.Helper()
	for turnedAway := 0; turnedAway < 10; {
		switch code := h.loginAs(logins[tried%len(logins)], from, "a wrong guess"); code {
		case 535:
			tried++
		case 421:
			turnedAway++
		default:
			h.t.Fatalf("%d", code)
		}
		if tried > 200 {
			h.t.Fatal("nothing bounds the guesses")
		}
	}
	if tried < 20 {
		h.t.Errorf("%d guesses were tried: the lockout has stopped them", tried)
	}
	return tried
}

func (h *house) loginFrom(from, password string) int {
	h.t.Helper()
	return h.loginAs(anna, from, password)
}

// loginAs tries once, on a connection of its own, and returns what was said.
func (h *house) loginAs(login, from, password string) int {
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
		code, _, err3 := c.says("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+login+"\x00"+password)))
		if err := errors.Join(err1, err2, err3); err != nil {
			h.t.Fatal(err)
		}
		return code
	}
	h.t.Fatal("no submission listener")
	return 0
}
