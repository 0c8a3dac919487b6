package app

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const exceptionsConfig = `dnsbl = ["bl.example=127.0.0.0/28,127.0.1.2/32", "all.example=127.0.0.0/8"]
[mail.inbound.exceptions]
forwarders = ["127.0.0.20/32", "relay.example"]
lists = ["lists.example"]
arc_sealers = ["forward.example"]
`

func withInbound(config, text string) string {
	return strings.Replace(config, "[mail.outbound]", "[mail.inbound]\n"+text+"[mail.outbound]", 1)
}

func fixture(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(strings.ReplaceAll(string(text), "\n", "\r\n"), "\r\n")
}

// listed is a DNS of two block lists, and of what forwards.
func listed(t *testing.T, p *pen) tree {
	t.Helper()
	d := p.world()
	maps.Copy(d, tree{
		"9.0.0.127.bl.example. A":             {"127.0.0.2"},
		"10.0.0.127.bl.example. A":            {"127.255.255.254"}, // you may not ask
		"10.0.0.127.all.example. A":           {"127.255.255.1"},   // likewise, inside of what is said to be its range
		"11.0.0.127.bl.example. A":            {"127.0.0.99"},      // something, but no listing
		"12.0.0.127.bl.example. A":            {"192.0.2.80"},      // a parked zone
		"12.0.0.127.all.example. A":           {"192.0.2.80"},
		"13.0.0.127.bl.example. A":            {"SERVFAIL"},
		"14.0.0.127.bl.example. A":            {"127.0.0.99", "127.0.1.2"}, // the second counts
		"20.0.0.127.bl.example. A":            {"127.0.0.2"},
		"21.0.0.127.bl.example. A":            {"127.0.0.2"},
		"relay.example. TXT":                  {`"v=spf1 ip4:127.0.0.21 -all"`},
		"lists.example. TXT":                  {`"v=spf1 ip4:127.0.0.22 -all"`},
		"s._domainkey.lists.example. TXT":     {p.txt},
		"arc._domainkey.forward.example. TXT": {`"` + fixture(t, "sealed.key")[:200] + `" "` + fixture(t, "sealed.key")[200:] + `"`},
	})
	return d
}

// TestListsAndExceptions are messages that block lists, or somebody who is known,
// decide over.
func TestListsAndExceptions(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	h := verdictHouse(t, listed(t, p), withInbound(verdictConfig, exceptionsConfig), nil)
	plain := "From: a@stranger.example\r\n\r\nhello"
	reject := "From: a@reject.example\r\n\r\nhello"
	list := "List-Id: Dev <dev.lists.example>\r\n" + reject + "\r\n"
	const refused, blocked = "550 5.7.1 message refused by the DMARC policy", "550 5.7.1 client address"
	for _, c := range []struct{ name, client, helo, from, to, msg, want string }{
		{"listed", "9", "x.example", "x@stranger.example", "b", plain, blocked + " [127.0.0.9] is on the block list bl.example"},
		{"listed by one reply of two", "14", "x.example", "x@stranger.example", "b", plain, blocked},
		{"listed, to postmaster", "9", "x.example", "x@stranger.example", "PostMaster", plain, "accept"},
		{"listed, to abuse", "9", "x.example", "x@stranger.example", "abuse", plain, "accept"},
		{"a reply that refuses us, taken for a listing, refused all mail", "10", "x.example", "x@stranger.example", "b", plain, "accept"},
		{"reply out of range", "11", "x.example", "x@stranger.example", "b", plain, "accept"},
		{"a parked list", "12", "x.example", "x@stranger.example", "b", plain, "accept"},
		{"a list that fails", "13", "x.example", "x@stranger.example", "b", plain, "accept"},
		{"a forwarder that is listed", "20", "x.example", "x@stranger.example", "b", plain, "accept"},

		{"nobody known", "30", "x.example", "x@stranger.example", "b", reject, refused},
		{"a forwarder by address", "20", "x.example", "x@stranger.example", "b", reject, "accept"},
		{"a forwarder by its HELO", "21", "relay.example", "", "b", reject, "accept"},
		{"a forwarder by its rewritten sender", "21", "x.example", "srs=x@relay.example", "b", reject, "accept"},
		{"one who only says so", "30", "relay.example", "x@relay.example", "b", reject, refused},

		{"a list, signed", "30", "x.example", "x@lists.example", "b", p.sign(t, list, "lists.example"), "accept"},
		{"a list, unsigned", "22", "x.example", "x@lists.example", "b", list, refused},
		{"a list's signature without its name", "30", "x.example", "x@lists.example", "b", p.sign(t, reject+"\r\n", "lists.example"), refused},
		{"a list's name, signed by another", "30", "x.example", "x@lists.example", "b", p.sign(t, list, "stranger.example"), refused},

		{"sealed by a known sealer who saw DMARC pass", "30", "x.example", "x@forward.example", "b", fixture(t, "sealed.eml"), "accept"},
		{"sealed, and saw it fail", "30", "x.example", "x@forward.example", "b", fixture(t, "sealed_fail.eml"), refused},
		{"sealed for another author", "30", "x.example", "x@forward.example", "b", fixture(t, "sealed_other.eml"), refused},
		{"sealed, then changed", "30", "x.example", "x@forward.example", "b", fixture(t, "sealed.eml") + "!", refused},
		{"sealed, then another From", "30", "x.example", "x@forward.example", "b", strings.Replace(fixture(t, "sealed.eml"), "a@reject", "ceo@reject", 1), refused},
		{"sealed, of a chain with a stranger in it", "30", "x.example", "x@forward.example", "b", strings.Replace(fixture(t, "sealed.eml"), "d=forward.example", "d=stranger.example", 1), refused},
	} {
		reply := h.connect("127.0.0."+c.client, c.helo).sendTo(c.from, c.to, strings.TrimSuffix(c.msg, "\r\n"))
		if word, _ := h.outcome(reply); !strings.HasPrefix(word, c.want) {
			t.Errorf("%s: %s, want %s", c.name, word, c.want)
		}
	}
	count := &h.app.inspector.Counters
	if count.ListsRefusing.Value() != 2 || count.ListsFailing.Value() != 1 || count.Sealed.Value() != 1 || count.ChainsBroken.Value() != 2 {
		t.Errorf("counted %d refusals, %d failures of lists, %d sealed, %d broken", count.ListsRefusing.Value(), count.ListsFailing.Value(), count.Sealed.Value(), count.ChainsBroken.Value())
	}

	// A reload exchanges all of it.
	h.write("postern.toml", verdictConfig)
	h.reload()
	for _, c := range []struct{ client, msg, want string }{{"9", plain, "accept"}, {"20", reject, refused}, {"30", fixture(t, "sealed.eml"), refused}} {
		if word, _ := h.outcome(h.connect("127.0.0."+c.client, "x.example").send("x@stranger.example", c.msg)); !strings.HasPrefix(word, c.want) {
			t.Errorf("after a reload: %s, want %s", word, c.want)
		}
	}

	// And whether anything is checked at all.
	h.write("postern.toml", strings.Replace(verdictConfig, "[mail.outbound]", "[mail.inbound]\nchecks = []\n[mail.outbound]", 1))
	h.reload("mail inbound: spf false, dkim false, dmarc false")
	word, header := h.outcome(h.connect("127.0.0.20", "x.example").send("x@stranger.example", reject))
	if word != "accept" || strings.Contains(results(header), "spf=") {
		t.Errorf("without checks: %s, %s", word, results(header))
	}
}

// TestMarks are oddities that are told and decide nothing.
func TestMarks(t *testing.T) {
	t.Parallel()
	p := newPen(t)
	d := p.world()
	d["mail.good.example. A"] = []string{"127.0.0.2"}
	d["2.0.0.127.in-addr.arpa. PTR"] = []string{"mail.good.example."}
	h := verdictHouse(t, d, verdictConfig, nil)
	plain := "From: a@stranger.example\r\n\r\nhello"
	for _, c := range []struct{ name, client, helo, from, msg, want string }{
		{"nothing odd", "2", "mail.good.example", "x@stranger.example", plain, ""},
		{"HELO is an address", "2", "[127.0.0.2]", "x@stranger.example", plain, "helo-literal"},
		{"HELO is no host name", "2", "localhost", "x@stranger.example", plain, "helo-not-a-name"},
		{"HELO leads elsewhere", "2", "edge.elsewhere.example", "x@stranger.example", plain, "helo-elsewhere"},
		{"HELO is us", "2", "edge.city.example", "x@stranger.example", plain, "helo-elsewhere helo-is-ours"},
		{"no reverse name", "9", "x.example", "", plain, "no-reverse-name helo-elsewhere"},
		{"our sender", "2", "mail.good.example", "x@city.example", plain, "own-sender-outside"},
		{"our author", "2", "mail.good.example", "x@stranger.example", "From: a@mail.city.example\r\n\r\nx", "own-author-outside"},
		{"look-alike", "2", "mail.good.example", "x@stranger.example", "From: mayor@c1ty.example\r\n\r\nx", "look-alike"},
		{"look-alike in other letters", "2", "mail.good.example", "x@stranger.example", "From: mayor@\u0441ity.example\r\n\r\nx", "look-alike"},
		{"our address as a name", "2", "mail.good.example", "x@stranger.example", "From: \"mayor@city.example\" <a@stranger.example>\r\n\r\nx", "name-shows-ours"},
		{"our address as an encoded name", "2", "mail.good.example", "x@stranger.example", "From: =?utf-8?B?bWF5b3JAY2l0eS5leGFtcGxl?= <a@stranger.example>\r\n\r\nx", "name-shows-ours"},
		{"forged marks", "2", "mail.good.example", "x@stranger.example", "X-Postern-Marks: none\r\n" + plain, ""},
	} {
		word, header := h.outcome(h.connect("127.0.0."+c.client, c.helo).send(c.from, c.msg))
		if word != "accept" {
			t.Errorf("%s: %s", c.name, word)
			continue
		}
		got := ""
		if f, ok := header.First("X-Postern-Marks"); ok {
			got = strings.Join(strings.Fields(f.Value()), " ")
		}
		if got != c.want {
			t.Errorf("%s: marks %q, want %q", c.name, got, c.want)
		}
	}
}
