package blobtest

import (
	"net/http"
	"testing"
	"time"
)

// TestVerify takes the example requests that AWS gives in "Authenticating
// Requests: Using the Authorization Header" of the S3 API reference.
func TestVerify(t *testing.T) {
	c := Credentials{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	now := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	const (
		scope = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
		empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	)
	type request struct {
		method, url, digest string
		header              map[string]string
		authorization       string
	}
	build := func(q request) *http.Request {
		r, err := http.NewRequest(q.method, "https://examplebucket.s3.amazonaws.com"+q.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Amz-Date", "20130524T000000Z")
		r.Header.Set("X-Amz-Content-Sha256", q.digest)
		for k, v := range q.header {
			r.Header.Set(k, v)
		}
		r.Header.Set("Authorization", scope+q.authorization)
		return r
	}
	get := request{"GET", "/test.txt", empty, map[string]string{"Range": "bytes=0-9"},
		"SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"}
	for _, q := range []request{
		get,
		{"PUT", "/test%24file.text", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
			map[string]string{"Date": "Fri, 24 May 2013 00:00:00 GMT", "X-Amz-Storage-Class": "REDUCED_REDUNDANCY"},
			"SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
		{"GET", "/?lifecycle", empty, nil,
			"SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
		{"GET", "/?max-keys=2&prefix=J", empty, nil,
			"SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
	} {
		if digest, err := c.verify(build(q), now); err != nil || digest != q.digest {
			t.Errorf("%s %s: %v", q.method, q.url, err)
		}
	}
	for what, change := range map[string]func(r *http.Request){
		"method":     func(r *http.Request) { r.Method = "DELETE" },
		"path":       func(r *http.Request) { r.URL.Path = "/other.txt" },
		"query":      func(r *http.Request) { r.URL.RawQuery = "uploads" },
		"range":      func(r *http.Request) { r.Header.Set("Range", "bytes=0-10") },
		"body":       func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") },
		"host":       func(r *http.Request) { r.Host = "other" },
		"unsigned":   func(r *http.Request) { r.Header.Set("X-Amz-Acl", "public-read") },
		"no header":  func(r *http.Request) { r.Header.Del("Authorization") },
		"other date": func(r *http.Request) { r.Header.Set("X-Amz-Date", "20130525T000000Z") },
	} {
		r := build(get)
		change(r)
		if _, err := c.verify(r, now); err == nil {
			t.Errorf("another %s passes", what)
		}
	}
	if _, err := c.verify(build(get), now.Add(time.Hour)); err == nil {
		t.Error("an old request passes")
	}
	if _, err := (Credentials{c.ID, "another"}).verify(build(get), now); err == nil {
		t.Error("another secret passes")
	}
}
