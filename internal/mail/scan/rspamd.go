package scan

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	"postern/internal/mail/verdict"
)

// Bounds of what goes to rspamd beside the message, and of what comes back.
const (
	maxRcpts  = 100
	maxAnswer = 1 << 20
)

// rspamd posts the message to /checkv2 and reads what should be done.
func (s *Scanner) rspamd(ctx context.Context, m Message) (finding, error) {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return s.cfg.Dial(ctx, s.cfg.Network, s.cfg.Address)
		},
		DisableKeepAlives:  true,
		DisableCompression: true,
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://rspamd/checkv2", io.NopCloser(m.Open()))
	if err != nil {
		return finding{}, fmt.Errorf("rspamd: %w", err)
	}
	req.ContentLength = m.Size
	req.Header = m.known()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return finding{}, fmt.Errorf("rspamd: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return finding{}, fmt.Errorf("rspamd: %w: HTTP status %d", errAnswer, resp.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return finding{}, fmt.Errorf("rspamd: read the answer: %w", err)
	}
	return rspamdAnswer(text)
}

// known is what the session says of the message, in rspamd's headers. What a
// client chose is cleaned: a header holds one line.
func (m Message) known() http.Header {
	h := http.Header{}
	set := func(name, value string) {
		if value != "" {
			h[name] = append(h[name], printable(value))
		}
	}
	env := m.Envelope
	if env.Client.IsValid() {
		set("Ip", env.Client.Unmap().String())
	}
	set("Helo", env.Helo)
	set("Hostname", m.Reverse)
	set("User", env.Account)
	set("Queue-Id", string(m.ID))
	set("From", env.From.Path())
	for _, to := range env.To[:min(len(env.To), maxRcpts)] {
		set("Rcpt", to.Path())
	}
	return h
}

// rspamdReply is the part of the answer that is read.
type rspamdReply struct {
	Action   string  `json:"action"`
	Score    float64 `json:"score"`
	Required float64 `json:"required_score"`
	Skipped  bool    `json:"is_skipped"`
	Error    string  `json:"error"`
}

// outcomes are the actions of rspamd. Greylisting is not ours: rspamd's own
// module turns it into a soft reject. What it would discard is set aside
// instead: mail that was taken does not vanish.
var outcomes = map[string]verdict.ScanOutcome{
	"no action":       verdict.ScanClean,
	"greylist":        verdict.ScanClean,
	"add header":      verdict.ScanSuspect,
	"rewrite subject": verdict.ScanSuspect,
	"quarantine":      verdict.ScanSuspect,
	"discard":         verdict.ScanSuspect,
	"soft reject":     verdict.ScanLater,
	"reject":          verdict.ScanSpam,
}

func rspamdAnswer(text []byte) (finding, error) {
	var r rspamdReply
	if err := json.Unmarshal(text, &r); err != nil {
		return finding{}, fmt.Errorf("rspamd: %w: %w", errAnswer, err)
	}
	outcome, known := outcomes[r.Action]
	switch {
	case r.Error != "":
		return finding{}, fmt.Errorf("rspamd: %w: %s", errAnswer, printable(r.Error))
	case !known && r.Action == "":
		return finding{}, fmt.Errorf("rspamd: %w: no action", errAnswer)
	case !known: // an action of the administrator's own
		outcome = verdict.ScanClean
	}
	number := func(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }
	return finding{outcome, printable(r.Action) + " " + number(r.Score) + "/" + number(r.Required)}, nil
}
