package doh

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

const (
	path       = "/dns-query"
	media      = "application/dns-message"
	maxMessage = 0xFFFF // RFC 8484, Section 6
	minMessage = 12     // a header
)

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at, _ := r.Context().Value(endsKey{}).(ends)
	if at.below == nil || !at.below.begin() {
		return
	}
	defer at.below.end()
	head := w.Header()
	head["Date"] = nil // our clock is nobody's affair
	msg, status := s.message(w, r)
	if status != http.StatusOK {
		s.config.Refused.Inc()
		if status == http.StatusMethodNotAllowed {
			head["Allow"] = []string{"GET, POST"} // RFC 9110, Section 15.5.6
		}
		w.WriteHeader(status)
		return
	}
	s.config.Messages.Inc()
	reply := s.config.Answer(msg, at.client, at.local)
	if len(reply) == 0 {
		// What gets no answer in DNS still ends the stream.
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	head["Content-Type"] = []string{media}
	head["Content-Length"] = []string{strconv.Itoa(len(reply))}
	head["Cache-Control"] = []string{freshness(reply)}
	_, _ = w.Write(reply) // who went away needs no reply
}

// message is the DNS message of a request, or the status that refuses it.
func (s *Server) message(w http.ResponseWriter, r *http.Request) ([]byte, int) {
	if r.URL == nil || r.URL.Path != path {
		return nil, http.StatusNotFound
	}
	var msg []byte
	status := http.StatusOK
	switch r.Method {
	case http.MethodGet:
		msg, status = parameter(r.URL.RawQuery)
	case http.MethodPost:
		msg, status = s.body(w, r)
	default:
		return nil, http.StatusMethodNotAllowed
	}
	if status == http.StatusOK && len(msg) < minMessage {
		return nil, http.StatusBadRequest
	}
	return msg, status
}

// parameter is the message in ?dns=, base64url without padding (RFC 8484,
// Sections 4.1 and 6). Other parameters mean nothing to us.
func parameter(query string) ([]byte, int) {
	values, err := url.ParseQuery(query)
	if err != nil || len(values["dns"]) != 1 {
		return nil, http.StatusBadRequest
	}
	text := values["dns"][0]
	if base64.RawURLEncoding.DecodedLen(len(text)) > maxMessage {
		return nil, http.StatusRequestEntityTooLarge
	}
	msg, err := base64.RawURLEncoding.Strict().DecodeString(text)
	// The decoder passes over line ends; RFC 4648, Section 3.1 does not.
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return nil, http.StatusBadRequest
	}
	return msg, http.StatusOK
}

// body is the message of a POST.
func (s *Server) body(w http.ResponseWriter, r *http.Request) ([]byte, int) {
	if !isMedia(r.Header.Get("Content-Type")) || r.Header.Get("Content-Encoding") != "" {
		return nil, http.StatusUnsupportedMediaType
	}
	if r.ContentLength > maxMessage {
		return nil, http.StatusRequestEntityTooLarge
	}
	defer s.cut(w)()
	// The buffer grows with what comes, not with what was promised.
	msg, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
	switch {
	case err == nil:
		return msg, http.StatusOK
	case tooLarge(err):
		return nil, http.StatusRequestEntityTooLarge
	}
	return nil, http.StatusBadRequest
}

// isMedia reports whether a Content-Type is that of DNS messages: in any letter
// case (RFC 9110, Section 8.3.1), and with any parameters, since it has none of
// its own.
func isMedia(value string) bool {
	kind, _, _ := strings.Cut(value, ";")
	return strings.EqualFold(strings.Trim(kind, " \t"), media)
}
