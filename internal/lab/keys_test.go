package lab_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"postern/internal/lab"
)

// keyed is one key as key generate made it.
type keyed struct{ name, algorithm, secret string }

// nobody is who Postern runs as in the lab.
const nobody = 65534

// dig is how dig and kdig are told of it.
func (k keyed) dig() []string { return []string{"-y", k.algorithm + ":" + k.name + ":" + k.secret} }

// keyPostern is Alpha's Postern with a key of each algorithm for the internal
// view, and one that no view names.
func keyPostern(l *lab.Lab, in *lab.Internet) (*lab.Postern, []keyed) {
	l.T().Helper()
	edge := l.Prepare(lab.PosternConfig{
		Config: alphaConfig,
		Files: map[string]string{
			"root.hints":                    in.HintsText(),
			"zones/external/alpha.lab.zone": alphaExternal,
			"zones/internal/alpha.lab.zone": alphaInternal,
			"zones/internal/corp.lab.zone":  corpInternal,
		},
	})
	var keys []keyed
	var blocks, names string
	for _, algorithm := range []string{"hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224", "hmac-sha1"} {
		k := keyed{name: "inner-" + algorithm + ".", algorithm: algorithm}
		blocks += "\n" + edge.Run("key", "generate", k.name, "--algorithm", algorithm).Want(0).Stdout
		names += fmt.Sprintf("%q, ", k.name)
		keys = append(keys, k)
	}
	free := keyed{name: "free.", algorithm: "hmac-sha256"}
	blocks += "\n" + edge.Run("key", "generate", free.name).Want(0).Stdout
	keys = append(keys, free)
	for i, k := range keys {
		path := edge.Path("secrets", strings.TrimSuffix(k.name, ".")+".key")
		text, err := os.ReadFile(path)
		if err != nil {
			l.T().Fatal(err)
		}
		keys[i].secret = strings.TrimSpace(string(text))
		if err := os.Chown(path, nobody, nobody); err != nil {
			l.T().Fatal(err)
		}
	}
	config := strings.Replace(alphaConfig, "overlay   = \"external\"", "overlay   = \"external\"\n\tkeys      = ["+names+"]", 1)
	config = strings.Replace(config, "[[view]]", "[[listen]]\n\tserve     = \"dns\"\n\taddress   = [\"198.51.100.53:853\"]\n\ttransport = [\"tls\"]\n\tviews     = [\"external\"]\n\n\t[[view]]", 1)
	edge.Write("postern.toml", config+blocks)
	edge.Start()
	return edge, keys
}

// TestKeys: dig and kdig sign, and get the internal view at the listener for
// the world; a bad key gets neither the internal nor the external answer.
func TestKeys(t *testing.T) {
	t.Parallel()
	lab.In(t, func(l *lab.Lab) {
		edge, keys := keyPostern(l, tree(l, ""))
		free := keys[len(keys)-1]
		ask := func(with lab.Asker, k keyed, name string, flags ...string) lab.Reply {
			l.T().Helper()
			return l.Ask(with, lab.Question{Server: alphaDNS, From: outsideClient, Name: name, Flags: append(k.dig(), flags...)})
		}
		believed := func(r lab.Reply, data string) {
			l.T().Helper()
			if r.Rcode != "NOERROR" || values(r.Answer) != data || doubts(r) || !r.Output.Has("TSIG") {
				l.T().Errorf("want %q, signed well:\n%s", data, r.Output)
			}
		}

		l.Step("a key chooses its view, over UDP, TCP and TLS", func() {
			for _, k := range keys[:len(keys)-1] {
				for _, with := range []lab.Asker{lab.Dig, lab.Kdig} {
					believed(ask(with, k, "vault.alpha.lab"), "10.66.6.6")
					believed(ask(with, k, "ledger.corp.lab", "+tcp"), "10.66.6.8")
				}
				believed(ask(lab.Kdig, k, "vault.alpha.lab", "+tls"), "10.66.6.6")
			}
		})
		l.Step("it may ask for the world", func() {
			believed(ask(lab.Dig, keys[0], "mx.beta.lab"), betaMX)
			believed(ask(lab.Kdig, keys[0], "mx.beta.lab", "+tcp"), betaMX)
		})
		l.Step("a key that no view names changes nothing", func() {
			believed(ask(lab.Dig, free, "www.alpha.lab"), "198.51.100.80")
			if r := ask(lab.Kdig, free, "vault.alpha.lab"); r.Rcode != "NXDOMAIN" || len(r.Answer) > 0 {
				l.T().Errorf("%s", r.Output)
			}
		})
		l.Step("a bad key gets its error and nothing else", func() {
			for want, k := range map[string]keyed{
				"BADSIG":   {keys[0].name, keys[0].algorithm, keys[1].secret},
				"BADKEY":   {"nobody.", keys[0].algorithm, keys[0].secret},
				"BADTRUNC": {keys[0].name, keys[0].algorithm + "-128", keys[0].secret},
			} {
				for _, name := range []string{"vault.alpha.lab", "www.alpha.lab", "none.alpha.lab", "ledger.corp.lab", "mx.beta.lab"} {
					for _, flag := range []string{"+notcp", "+tcp"} {
						r := ask(lab.Dig, k, name, flag)
						if r.Rcode != "NOTAUTH" || !r.Output.Has(want) || !doubts(r) || len(r.Answer)+len(r.Authority) > 0 {
							l.T().Errorf("%s for %s:\n%s", want, name, r.Output)
						}
					}
				}
			}
			// An algorithm that is not the key's, and one that nobody should use.
			for _, algorithm := range []string{"hmac-sha512", "hmac-md5"} {
				if r := ask(lab.Dig, keyed{keys[0].name, algorithm, keys[0].secret}, "vault.alpha.lab"); r.Rcode != "NOTAUTH" || !r.Output.Has("BADKEY") {
					l.T().Errorf("%s:\n%s", algorithm, r.Output)
				}
			}
		})
		l.Step("another time", func() {
			for _, off := range []time.Duration{-time.Hour, time.Hour} {
				wantBadTime(l, keys[0], off)
			}
		})
		l.Step("nothing shows a secret", func() {
			said := edge.Run("key", "list").Want(0, "inner-hmac-sha512.", "internal", "free.").String() +
				edge.Run("config", "show", "--effective").Want(0).String() + edge.Run("status").Want(0).String() +
				edge.Run("config", "check").Want(0, "key free: the view of listener and address").String() + edge.Said()
			for _, k := range keys {
				if strings.Contains(said, k.secret) {
					l.T().Errorf("the secret of %s is shown:\n%s", k.name, said)
				}
			}
		})
	})
}

// doubts tells whether dig or kdig did not believe the reply's signature.
func doubts(r lab.Reply) bool { return r.Output.Has("validated") || r.Output.Has("verif") }

// wantBadTime signs at another time: the reply is signed, in the client's own
// time, and tells ours (RFC 8945, Section 5.2.3).
func wantBadTime(l *lab.Lab, k keyed, off time.Duration) {
	l.T().Helper()
	signed := time.Now().Add(off)
	m := new(dns.Msg).SetQuestion("vault.alpha.lab.", dns.TypeA)
	m.SetTsig(k.name, dns.HmacSHA256, 300, signed.Unix())
	query, mac, err := dns.TsigGenerate(m, k.secret, "", false)
	if err != nil {
		l.T().Fatal(err)
	}
	conn, err := lab.DialFrom(outsideClient, "tcp", alphaDNS+":53")
	if err != nil {
		l.T().Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	c := &dns.Conn{Conn: conn}
	if _, err := c.Write(query); err != nil {
		l.T().Fatal(err)
	}
	reply, err := c.ReadMsgHeader(nil)
	if err != nil {
		l.T().Fatal(err)
	}
	got := new(dns.Msg)
	if err := got.Unpack(reply); err != nil {
		l.T().Fatal(err)
	}
	r := got.IsTsig()
	if got.Rcode != dns.RcodeNotAuth || len(got.Answer) > 0 || r == nil || r.Error != dns.RcodeBadTime || r.TimeSigned != uint64(signed.Unix()) || r.OtherLen != 6 {
		l.T().Fatalf("%s", got)
	}
	var ours int64
	if _, err := fmt.Sscanf(r.OtherData, "%x", &ours); err != nil || time.Since(time.Unix(ours, 0)).Abs() > time.Minute {
		l.T().Errorf("our time is %q", r.OtherData)
	}
	// The library does not look at the MAC of a NOTAUTH, so it signs the same.
	sent := r.MAC
	if _, again, err := dns.TsigGenerate(got, k.secret, mac, false); err != nil || again != sent {
		l.T().Errorf("signed with %s, want %s, %v", sent, again, err)
	}
}
