package envelope

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"postern/internal/mail/address"
)

func TestIDForm(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	good := NewID(at, 1<<32-1)
	for _, bad := range []ID{"", "../../../etc/passw", good[:17], good + "0", "w" + good[1:], "A" + good[1:], good[:17] + "\n", good[:17] + "/"} {
		if bad.Valid() {
			t.Errorf("%q counts as an id", bad)
		}
	}
	if !good.Valid() {
		t.Errorf("%q does not count as an id", good)
	}
	later := NewID(at.Add(time.Microsecond), 0)
	if good >= later {
		t.Errorf("%q does not sort before the later %q", good, later)
	}
	if a, b := NewID(at, 1<<31), NewID(at, 1<<30); a == b {
		t.Error("chance is not part of the id")
	}
}

func TestOriginUnknownName(t *testing.T) {
	t.Parallel()
	var o Origin
	if err := o.UnmarshalText([]byte("door")); err == nil {
		t.Error("an unknown origin was read")
	}
	if Origin(77).String() != "unknown" {
		t.Error("an undefined origin has a name")
	}
}

func TestNotify(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n       Notify
		text    string
		failure bool
	}{
		{0, "", true},
		{Never, "NEVER", false},
		{Success, "SUCCESS", false},
		{Success | Failure | Delay, "SUCCESS,FAILURE,DELAY", true},
		{Delay, "DELAY", false},
	} {
		if c.n.String() != c.text || c.n.WantsFailure() != c.failure {
			t.Errorf("%d: %q %v, want %q %v", c.n, c.n.String(), c.n.WantsFailure(), c.text, c.failure)
		}
	}
}

func TestEnvelopeSurvivesJSON(t *testing.T) {
	t.Parallel()
	in := Envelope{
		ID:       NewID(time.Unix(1, 0), 5),
		From:     address.Address{Local: "a b\"@c", Domain: "example.test"},
		To:       []address.Address{{Local: "用户", Domain: "xn--fsq.example"}, {Local: "postmaster"}},
		Received: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Client:   netip.MustParseAddr("2001:db8::1"), Helo: "h", Account: "x@y", Origin: Submission,
		TLS: true, NoBounce: true, UTF8: true, Body8Bit: true, Ret: "HDRS", EnvID: "e+3D", Notify: []Notify{Never, 0}, ORcpt: []string{"rfc822;a@b", ""},
	}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out Envelope
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(in, out) {
		t.Errorf("got  %+v\nwant %+v\n%s", out, in, text)
	}
	if out.NotifyOf(0) != Never || out.NotifyOf(5) != 0 || out.ORcptOf(1) != "" || out.ORcptOf(-1) != "" {
		t.Error("per-recipient values are read wrongly")
	}
}
