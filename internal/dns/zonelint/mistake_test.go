package zonelint

import (
	"strings"
	"testing"

	"postern/internal/dns/zonefile"
)

// TestMessagesSayWhatWasMeant, and stand where it is put right.
func TestMessagesSayWhatWasMeant(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ rule, text, want string }{
		{"MX without its final dot", sound + "@ MX 1 mx.else.net\n", "z:8:1: ERR mx-lame mx.else.net.example. has no address in this zone; is mx.else.net. meant, with a final dot?"},
		{"CNAME without its final dot", sound + "shop CNAME shops.else.net\n", "z:8:1: WARN cname-dangling shops.else.net.example. does not exist in this zone; is shops.else.net. meant, with a final dot?"},
		{"SRV without its final dot", sound + "_sip._tcp SRV 1 1 5060 sip.else.net\n", "z:8:1: ERR srv-lame sip.else.net.example. has no address in this zone; is sip.else.net. meant, with a final dot?"},
		{"a target below a name of ours", sound + "sub TXT t\n@ MX 1 mx.sub\n", "z:9:1: ERR mx-lame mx.sub.example. has no address in this zone (add"},
		{"a target of ours", sound + "@ MX 1 mx\n", "z:8:1: ERR mx-lame mx.example. has no address in this zone (add"},
		{"CNAME at the apex is told of the CNAME", sound + "@ CNAME shops.else.net.\n", "z:8:1: ERR cname-other example. is the zone itself"},
		{"an empty file", "", "z:1:1: ERR soa-missing zone example. has no SOA: the file holds no record of it"},
		{"blanks", " \n\t\n", "z:1:1: ERR soa-missing zone example. has no SOA: the file holds no record of it"},
		{"a name in another script", sound + "m\u00fcnchen A 192.0.2.1\n", `but "münchen" is no label of a host name; an internationalised one is written in its xn-- form`},
	} {
		records, problems := zonefile.Parse(strings.NewReader(c.text), "z", parsed(t, "example."), zonefile.Options{})
		var texts []string
		for _, p := range append(problems, Check(records, parsed(t, "example."), Context{File: "z", Notes: true})...) {
			texts = append(texts, p.String())
		}
		if all := strings.Join(texts, "\n"); !strings.Contains(all, c.want) {
			t.Errorf("%s: no %q in\n%s", c.rule, c.want, all)
		}
	}
}
