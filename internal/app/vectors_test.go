package app

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// vectors is the data of the authentication milter's own tests: sessions of 2015
// with the client they are of, the zone they need, and what came of them there.
const vectors = "../../../shared/vectors/authmilter"

// vectorsDiffer are the sessions of which something else comes of us, and why. An
// empty list says that it cannot be played.
var vectorsDiffer = map[string][]string{
	"dmarc_reject_wl":           {"dkim=permerror", "dmarc=fail"}, // rsa-sha1 may no longer pass (RFC 8301, Section 3.1)
	"google_apps_bad_space":     {},                               // a space within the address: 501 at MAIL
	"google_apps_good_map":      {},                               // the milter was told that the client is another
	"google_apps_good_map_cidr": {},
}

// TestMilterVectors plays the sessions at a socket, with the zone behind a socket.
func TestMilterVectors(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(filepath.Join(vectors, "example", "*.smtp.eml"))
	if err != nil || len(paths) == 0 {
		t.Skipf("test data is absent: %v", err)
	}
	config := strings.Replace(verdictConfig, "[mail.outbound]", "[mail.inbound]\ntrusted_xclient = [\"127.0.0.1\"]\ndmarc = \"monitor\"\n[mail.outbound]", 1)
	h := verdictHouse(t, vectorWorld(t), config, nil)
	played, compared := 0, 0
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".smtp.eml")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s, ok := readVectorSession(string(text))
		want := s.results()
		if other, differs := vectorsDiffer[name]; differs {
			want, ok = other, len(other) > 0
		}
		if !ok {
			continue
		}
		played++
		got := s.play(t, h)
		for _, w := range want {
			compared++
			// RFC 8601, Section 2.7.3: without a reverse name iprev cannot fail.
			if !slices.Contains(got, w) && !(w == "iprev=fail" && slices.Contains(got, "iprev=permerror")) {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	}
	if t.Logf("%d sessions, %d results", played, compared); played < 30 || compared < 60 {
		t.Error("hardly anything was compared")
	}
}

// vectorSession is one message: who brought it, and what it looked like behind.
type vectorSession struct{ addr, helo, from, after string }

// readVectorSession reads what was said to the milter and, behind a line of ##, the
// message as it came out. Those of several messages are not for us.
func readVectorSession(text string) (s vectorSession, ok bool) {
	said, rest, _ := strings.Cut(strings.ReplaceAll(text, "\r\n", "\n"), "############\n############\n")
	s.addr, s.helo = "127.0.0.1", "localhost"
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		for key, field := range map[string]*string{"XFORWARD ADDR=": &s.addr, "XFORWARD HELO=": &s.helo, "MAIL FROM:": &s.from} {
			if value, ok := strings.CutPrefix(line, key); ok {
				*field = value
			}
		}
	}
	s.from, _, _ = strings.Cut(strings.Trim(s.from, "<"), ">")
	s.after, _, _ = strings.Cut(rest, "\n.\nQUIT")
	return s, !strings.Contains(rest, "############\n")
}

var (
	vectorResult = regexp.MustCompile(`(?m)^\s+((?:spf|dkim|dmarc|iprev)=[a-z]+)\b`)
	ourResult    = regexp.MustCompile(`(?:spf|dkim|dmarc|iprev)=[a-z]+`)
)

// fields cuts the header into fields.
func (s vectorSession) fields() (fields []string, body string) {
	header, body, _ := strings.Cut(s.after, "\n\n")
	for line := range strings.SplitSeq(header, "\n") {
		if n := len(fields); n > 0 && line != "" && (line[0] == ' ' || line[0] == '\t') {
			fields[n-1] += "\n" + line
			continue
		}
		fields = append(fields, line)
	}
	return fields, body
}

// results are those of the milter. skipped is no result of RFC 8601.
func (s vectorSession) results() []string {
	var out []string
	fields, _ := s.fields()
	for _, f := range fields {
		if strings.HasPrefix(f, "Authentication-Results: server.example.com") {
			for _, m := range vectorResult.FindAllStringSubmatch(f, -1) {
				if !strings.HasSuffix(m[1], "=skipped") {
					out = append(out, m[1])
				}
			}
		}
	}
	return out
}

// play brings the message as it was before the milter, and returns our results.
func (s vectorSession) play(t *testing.T, h *house) []string {
	t.Helper()
	fields, body := s.fields()
	fields = slices.DeleteFunc(fields, func(f string) bool {
		return strings.HasPrefix(f, "Authentication-Results: server.example.com") || strings.HasPrefix(f, "Received-SPF:")
	})
	d := h.connect("127.0.0.1", "edge.city.example")
	addr := s.addr
	if net.ParseIP(addr).To4() == nil {
		addr = "IPV6:" + addr
	}
	if r := d.say("XCLIENT ADDR=" + addr + " HELO=" + s.helo); !strings.HasPrefix(r, "220") {
		t.Fatal(r)
	}
	d.say("EHLO " + s.helo)
	msg := strings.TrimSuffix(strings.Join(fields, "\n")+"\n\n"+body, "\n")
	reply := d.send(s.from, strings.ReplaceAll(msg, "\n", "\r\n"))
	_, header := h.outcome(reply)
	if header == nil {
		t.Errorf("%s from %s: %s", s.from, s.addr, reply)
	}
	var got []string
	for _, r := range ourResult.FindAllString(results(header), -1) {
		// Of SPF the sender's is compared, which comes before that of HELO.
		if !strings.HasPrefix(r, "spf=") || !slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, "spf=") }) {
			got = append(got, r)
		}
	}
	return got
}

// vectorWorld reads the zone.
func vectorWorld(t *testing.T) tree {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(vectors, "zonefile"))
	if err != nil {
		t.Fatal(err)
	}
	d := tree{}
	for line := range strings.Lines(string(text)) {
		rr, err := dns.NewRR(line)
		if err != nil || rr == nil {
			continue // what the milter's own server reads, and is no record
		}
		key := strings.ToLower(rr.Header().Name) + " " + dns.TypeToString[rr.Header().Rrtype]
		d[key] = append(d[key], strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	if len(d) < 40 {
		t.Fatalf("%d sets were read", len(d))
	}
	return d
}
