package blobtest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Credentials are an access key of a stand-in.
type Credentials struct{ ID, Secret string }

// verify checks the AWS Signature Version 4 in the header of a request: that
// it was made with the key, for this request, now. The digest of the body,
// which the signature covers, is for the caller to compare.
func (c Credentials) verify(r *http.Request, now time.Time) (bodyDigest string, err error) {
	rest, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok {
		return "", errors.New("no signature of version 4")
	}
	fields := map[string]string{}
	for _, f := range strings.Split(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(f), "=")
		fields[name] = value
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || scope[3] != "s3" || scope[4] != "aws4_request" {
		return "", fmt.Errorf("credential %q", fields["Credential"])
	}
	if scope[0] != c.ID {
		return "", errors.New("unknown access key")
	}
	stamp := r.Header.Get("X-Amz-Date")
	at, err := time.Parse("20060102T150405Z", stamp)
	if err != nil || at.Format("20060102") != scope[1] {
		return "", fmt.Errorf("date %q of %q", stamp, fields["Credential"])
	}
	if d := now.Sub(at); d > 15*time.Minute || d < -15*time.Minute {
		return "", fmt.Errorf("signed %v ago", d)
	}
	signed := strings.Split(fields["SignedHeaders"], ";")
	for name := range r.Header { // those that change what a request means
		low := strings.ToLower(name)
		if strings.HasPrefix(low, "x-amz-") && !slices.Contains(signed, low) {
			return "", fmt.Errorf("%s is not signed", low)
		}
	}
	if !slices.Contains(signed, "host") || !slices.IsSorted(signed) {
		return "", fmt.Errorf("signed headers %v", signed)
	}
	bodyDigest = r.Header.Get("X-Amz-Content-Sha256")
	request := sha256.Sum256([]byte(canonical(r, signed, bodyDigest)))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", stamp, strings.Join(scope[1:], "/"), hex.EncodeToString(request[:])}, "\n")
	key := []byte("AWS4" + c.Secret)
	for _, part := range append(scope[1:], text) {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(part))
		key = h.Sum(nil)
	}
	if !hmac.Equal([]byte(hex.EncodeToString(key)), []byte(fields["Signature"])) {
		return "", errors.New("the signature is of another request or key")
	}
	return bodyDigest, nil
}

// canonical is the form of a request that is signed.
func canonical(r *http.Request, signed []string, bodyDigest string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n%s\n", r.Method, escape(r.URL.Path, true), canonicalQuery(r.URL.Query()))
	for _, name := range signed {
		value := strings.Join(r.Header.Values(name), ",")
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = fmt.Sprint(r.ContentLength)
		}
		fmt.Fprintf(&b, "%s:%s\n", name, strings.Join(strings.Fields(value), " "))
	}
	fmt.Fprintf(&b, "\n%s\n%s", strings.Join(signed, ";"), bodyDigest)
	return b.String()
}

func canonicalQuery(q url.Values) string {
	var pairs []string
	for name, values := range q {
		for _, v := range values {
			pairs = append(pairs, escape(name, false)+"="+escape(v, false))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

// escape is AWS's form of percent-encoding.
func escape(s string, path bool) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 || path && c == '/' {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}
