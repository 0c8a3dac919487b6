package authority

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"postern/internal/atomicfile"
	"postern/internal/dns/zonefile"
	"postern/internal/dns/zonelint"
)

const (
	lintHead  = "$TTL 60\n@ SOA ns admin 1 2h 1h 14d 5m\n"
	lintBare  = lintHead + "@ NS ns\n@ NS ns.else.test.\nns A 192.0.2.1\n"
	shortKey  = "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAECAwEAAQ=="
	weakKey   = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAQIDAQAB"
	lintSound = lintBare + "@ TXT \"v=spf1 mx -all\"\n_dmarc TXT \"v=DMARC1; p=reject; rua=mailto:a@else.test\"\n"
)

// faulty are zones that are served though something is wrong with them: with
// the zones of TestNoteHasEveryCode, every code of a file or a zone that a
// server tells and that does not block.
func faulty() map[string]string {
	zeros := func(n int) string { return strings.Repeat("0", n) }
	sub := "sub NS ns.else.test.\nsub NS ns.sub\nns.sub A 192.0.2.3\n"
	spf := func(value string) string { return lintBare + "@ TXT \"" + value + "\"\n" }
	all := map[string]string{
		"records": lintSound + sub + "sub DS 1 13 1 " + zeros(40) + "\nsub DS 1 13 2 0011\na DS 1 13 2 " + zeros(64) + "\n@ DS 1 13 2 " + zeros(64) +
			"\n_25._tcp.a TLSA 3 1 1 00\na SSHFP 4 2 00\nx.sub TXT t\nold.sub A 192.0.2.4\nb 8d A 192.0.2.2\nc A 192.0.2.1\nc 61 A 192.0.2.2\n" +
			"a.*.b TXT t\nd CNAME nowhere\ne HTTPS 0 ns alpn=h2\nf HTTPS 1 nowhere alpn=h2\nns A 192.0.2.1\n@ CAA 0 isue \"ca.test\"\n",
		"targets": lintSound + "sub NS 192.0.2.1.\nsub NS n_s\nn_s A 192.0.2.1\nsub NS n2\nn2 CNAME ns\nsub NS ns.sub\n@ MX 1 192.0.2.1.\n@ MX 1 m_x.else.test.\n@ MX 1 m\nm CNAME ns\n@ MX 1 n3\n" +
			"_x._tcp SRV 0 0 1 a\na CNAME ns\n_x._tcp SRV 0 0 1 192.0.2.1\n_x._tcp SRV 0 0 1 nowhere\n@ MX 0 .\n@ MX 5 ns\n@ MX 6 ns\n",
		"null":  lintSound + "@ MX 5 .\n",
		"names": lintSound + "ab--c A 192.0.2.2\na A 0.0.0.0\nb A 10.0.0.1\nc AAAA 2001:db8::1\nwww.names.test A 192.0.2.1\n_b A 192.0.2.3\n",
		"soa":   "$TTL 60\n@ SOA localhost. admin@example. 1 10m 10m 6d 2d\n@ NS ns\nns A 192.0.2.1\n",
		"dname": lintSound + "a DNAME b.test.\nx.a A 192.0.2.1\na NS ns\n",
		"spf":   spf("v=spf1 ipv4:192.0.2.1 ptr all a") + "@ MX 1 ns\n@ SPF \"v=spf1 -all\"\na TXT \"v=spf1 a ?all\"\nb TXT v=spf1 mx -all\nc TXT \"v=spf1 -all\"\nc TXT \"v=spf1 a -all\"\n",
		"spf2": spf("v=spf1 a mx a:a.test a:b.test a:c.test a:d.test a:e.test a:f.test a:g.test a:h.test a:i.test -all") +
			"a TXT \"v=spf1" + strings.Repeat(" ip4:192.0.2.1", 40) + " -all\"\n",
		"spf3":  spf("v=spf1 include:x.spf3.test -all") + "x TXT \"v=spf1 redirect=spf3.test\"\n",
		"spf4":  spf("v=spf1 include:x.spf4.test -all") + "x TXT \"other\"\n",
		"bare":  strings.TrimPrefix(lintSound, "$TTL 60\n") + "a TXT \u201ca\u201d\n$ORIGIN else.test.\n",
		"dkim":  lintSound + "a._domainkey TXT hello\nb._domainkey TXT v=DKIM1; k=rsa; p=AAAA\nc._domainkey TXT \"v=DKIM1; t=y; h=sha1; p=\"\nc._domainkey TXT \"v=DKIM1; p=\"\n",
		"dkim2": lintSound + "a._domainkey TXT \"v=DKIM1; p=" + shortKey + "\"\nb._domainkey TXT \"v=DKIM1; p=" + weakKey + "\"\n",
		"dmarc": lintBare + "@ MX 1 ns\n@ TXT \"v=DMARC1; p=reject\"\n_dmarc TXT \"v=DMARC1; sp=none; rua=a@b.test; pct=50\"\n_dmarc.a TXT \"v=spf1 -all\"\n" +
			"_mta-sts TXT v=STSv1\n_smtp._tls TXT \"v=TLSRPTv1\"\n_dmarc.b TXT v=DMARC1; p=reject\n_dmarc.c TXT \"v=DMARC1; p=none\"\n_dmarc.d TXT \"v=DMARC1; p=reject\"\n_dmarc.d TXT \"v=DMARC1; p=none\"\n",
		"mail": lintBare + "@ MX 1 ns\n",
		"odd":  lintSound + "caf\xe9 TXT caf\xe9\n<b>&amp;\u2028 CNAME \"\\000.\\\"\\255\"\n",
	}
	many := &strings.Builder{}
	many.WriteString(lintSound)
	for i := range 120 {
		fmt.Fprintf(many, "c%d CNAME nowhere%d\n", i, i)
	}
	all["many"] = many.String()
	return all
}

// What a restart says of the zones that it does not read again is what one
// that reads them says, whatever there is to say.
func TestNoteHasEveryCode(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	inside := filepath.Join(b.root, "inside")
	if err := os.Mkdir(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	b.cfg.Views = append([]ViewConfig{{Name: "inside", Dir: inside}}, b.cfg.Views...)
	for zone, text := range faulty() {
		b.write("external/"+zone+".test.zone", text)
	}
	b.write("external/names.de.zone", faulty()["names"]) // not reserved for examples
	b.write("inside/names.test.zone", faulty()["names"])
	b.start()
	read := b.a.Zones()
	seen := map[string]bool{}
	for _, s := range read {
		for _, p := range s.Problems {
			seen[p.Code] = true
		}
	}
	for _, c := range zonelint.Codes() {
		if c.From != "views" && !c.Blocks && c.Severity != zonefile.NOTE && !seen[c.Code] && !untold[c.Code] {
			t.Errorf("%s is in no zone of this test", c.Code)
		}
	}
	for range 2 {
		b.start()
		for k, s := range b.a.owner.sources {
			if st := b.a.owner.served[k]; st.content != nil && s.reason == "" && st.reason == "" && !s.noted {
				t.Errorf("%s in %s was read again", k.zone, k.view)
			}
		}
		b.wantSame(read, b.a.Zones())
	}
	b.build = "" // reads all
	b.start()
	b.wantSame(read, b.a.Zones())
}

// untold are the codes that a server has no occasion to tell.
var untold = map[string]bool{
	"mixed-addresses": true, // it knows who sees a zone
}

// wantSame compares what is told of the zones, but for when.
func (b *bench) wantSame(before, after []Status) {
	b.t.Helper()
	if len(before) != len(after) {
		b.t.Fatalf("%d zones, were %d", len(after), len(before))
	}
	for i, s := range after {
		s.Since, s.LoadedAt = before[i].Since, before[i].LoadedAt
		if !reflect.DeepEqual(before[i], s) {
			b.t.Errorf("was\n%+v\nis\n%+v", before[i], s)
		}
	}
}

// asRead compares what is told now with what is told by a life that cannot
// trust a note.
func (b *bench) asRead() {
	b.t.Helper()
	noted := b.a.Zones()
	b.stop()
	build := b.build
	b.build = ""
	b.start()
	b.wantSame(noted, b.a.Zones())
	b.build = build
}

var errPower = errors.New("no power")

// The power fails at every step of a change; the life that follows says what
// one says that reads everything.
func TestCrashBetweenSnapshotAndNote(t *testing.T) {
	t.Parallel()
	changes := map[string]func(b *bench){
		"record":    func(b *bench) { b.write("external/example.test.zone", warned+"new CNAME nowhere\n") },
		"text":      func(b *bench) { b.write("external/example.test.zone", "; moved down\n"+warned) },
		"withdrawn": func(b *bench) { _ = b.a.Withdraw(b.t.Context(), "key.example.test", "dkim") },
	}
	for what, change := range changes {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			whole := restartBench(t)
			whole.stop()
			for steps, done := 0, false; !done; steps++ {
				b := newBench(t)
				if err := os.CopyFS(b.root, os.DirFS(whole.root)); err != nil {
					t.Fatal(err)
				}
				left := -1 // before the test begins, all works
				b.cfg.Writer = atomicfile.Writer{Fault: func(s atomicfile.Step) error {
					switch {
					case left < 0:
					case left == 0:
						return errPower
					case s == atomicfile.StepRename, s == atomicfile.StepSyncDir: // before these, nothing is different
						left--
					}
					return nil
				}}
				b.start()
				left = steps
				change(b)
				b.settle()
				b.stop()
				done = left > 0 // more steps than there were
				b.cfg.Writer = atomicfile.Writer{}
				b.start()
				b.want("external", "www.example.test", "192.0.2.80")
				b.asRead()
				if steps > 60 {
					t.Fatal("no end of steps")
				}
			}
		})
	}
}

// A disk that has no room for the note costs nothing but the note.
func TestFullDiskForTheNote(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	writes, full := 0, 0
	b.cfg.Writer = atomicfile.Writer{Fault: func(s atomicfile.Step) error {
		if s == atomicfile.StepWrite {
			if writes++; writes == full {
				return syscall.ENOSPC
			}
		}
		return nil
	}}
	b.write("external/more.inc", "txt TXT \"a\"\n")
	b.write("external/example.test.zone", warned)
	full = 4 // serials, room for them, snapshot, note
	b.start()
	if writes != 4 {
		t.Fatalf("%d writes", writes)
	}
	if s := b.status("external", "example.test."); s.State != OK || s.Reason != "" || len(s.Problems) != 1 {
		t.Errorf("%+v", s)
	}
	if n := b.a.Counters.Journal.Value() + b.a.Counters.Refused.Value(); n != 0 {
		t.Errorf("%d counted", n)
	}
	b.start()
	if b.a.owner.sources[b.key("external")].noted {
		t.Error("trusted without a note")
	}
	b.start() // the life before wrote it
	if !b.folded() {
		t.Error("the note was not written again")
	}
	b.asRead()
}

// A derived record that the admin's records push aside is told of; when it is
// withdrawn, no restart tells of it again.
func TestNoteForgetsWhatYielded(t *testing.T) {
	t.Parallel()
	b := restartBench(t)
	b.write("external/example.test.zone", warned+"key TXT mine\n")
	b.settle()
	if s := b.a.Zones()[0]; len(s.Problems) != 2 {
		t.Fatalf("%+v", s)
	}
	b.start()
	if !b.folded() {
		t.Error("a record that yields makes the file be read")
	}
	b.asRead()
	if err := b.a.Withdraw(t.Context(), "key.example.test", "dkim"); err != nil {
		t.Fatal(err)
	}
	if s := b.a.Zones()[0]; len(s.Problems) != 1 {
		t.Fatalf("%+v", s)
	}
	b.start()
	if s := b.a.Zones()[0]; len(s.Problems) != 1 {
		t.Errorf("%+v", s)
	}
	b.asRead()
}

// A note that is none of the zone's.
func TestForeignNotes(t *testing.T) {
	t.Parallel()
	for what, damage := range map[string]func(b *bench, note, other string){
		"of another zone":    func(b *bench, note, other string) { b.writeAt(note, b.readAt(other)) },
		"cut":                func(b *bench, note, _ string) { b.writeAt(note, b.readAt(note)[:100]) },
		"empty":              func(b *bench, note, _ string) { b.writeAt(note, "") },
		"a bit":              func(b *bench, note, _ string) { b.writeAt(note, strings.Replace(b.readAt(note), "WARN", "WARM", 1)) },
		"of a newer version": func(b *bench, note, _ string) { b.writeAt(note, "postern-zone 9\n") },
		"a directory": func(b *bench, note, _ string) {
			b.removeAt(note)
			if err := os.Mkdir(note, 0o700); err != nil {
				b.t.Fatal(err)
			}
		},
		"huge": func(b *bench, note, _ string) {
			if err := os.Truncate(note, 1<<40); err != nil {
				b.t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := restartBench(t)
			b.write("external/other.test.zone", warned)
			b.settle()
			b.start()
			b.stop()
			at := func(zone string) string { return filepath.Join(b.root, "state", "zones", zone+"@external.note") }
			damage(b, at("example.test"), at("other.test"))
			b.start()
			if b.a.owner.sources[b.key("external")].noted {
				t.Error("it was trusted")
			}
			b.want("external", "www.example.test", "192.0.2.80")
			b.asRead()
		})
	}
}

func (b *bench) readAt(path string) string {
	b.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}
