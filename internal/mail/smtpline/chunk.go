package smtpline

import (
	"strconv"
	"strings"
)

// Chunk is what BDAT announces (RFC 3030, Section 2).
type Chunk struct {
	Size int64
	Last bool
}

// ParseBdat reads the argument of BDAT. After a refusal nobody knows where the
// chunk ends and the next command begins, so the connection must.
func ParseBdat(arg string) (Chunk, *Reply) {
	size, last, more := strings.Cut(arg, " ")
	bad := Refuse(501, "5.5.4", "syntax", "write BDAT, the number of octets, and LAST at the end")
	if len(size) == 0 || len(size) > 18 || strings.Trim(size, "0123456789") != "" {
		return Chunk{}, bad
	}
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil || more && !strings.EqualFold(last, "LAST") {
		return Chunk{}, bad
	}
	return Chunk{Size: n, Last: more}, nil
}
