package blobtest

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// S3 is a stand-in for a bucket: the part of the S3 protocol that a blob store
// needs, with the checks that the real thing makes (signatures, digests of
// bodies, sizes and ETags of parts). It is an http.Handler for path-style
// requests.
type S3 struct {
	Bucket      string
	Credentials Credentials

	dir     string
	mu      sync.Mutex
	objects map[string]object
	uploads map[string]*upload
	serial  int
	refuse  bool
	// requests counts the requests by kind, such as "PUT part".
	requests map[string]int
}

// object is a stored body.
type object struct {
	path string
	size int64
	etag string
	at   time.Time
}

type upload struct {
	key   string
	parts map[int]object
	at    time.Time
}

// NewS3 makes an empty bucket that keeps its objects in dir.
func NewS3(bucket, dir string) *S3 {
	return &S3{Bucket: bucket, Credentials: Credentials{"stand-in-key", "stand-in-secret"}, dir: dir,
		objects: map[string]object{}, uploads: map[string]*upload{}, requests: map[string]int{}}
}

// Unfinished lists the keys of uploads that were neither completed nor aborted.
func (s *S3) Unfinished() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for _, u := range s.uploads {
		keys = append(keys, u.key)
	}
	return keys
}

// Refuse makes the bucket refuse everything, or serve again.
func (s *S3) Refuse(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = yes
}

// Age makes all unfinished uploads older.
func (s *S3) Age(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.uploads {
		u.at = u.at.Add(-d)
	}
}

// Count says how many requests of a kind there were.
func (s *S3) Count(kind string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[kind]
}

// fault is an error of the protocol.
type fault struct {
	status  int
	code    string
	message string
}

func (f *fault) Error() string { return f.code + ": " + f.message }

func (s *S3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := s.serve(w, r)
	if err == nil {
		return
	}
	f := &fault{http.StatusInternalServerError, "InternalError", err.Error()}
	errors.As(err, &f)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(f.status)
	if r.Method != http.MethodHead {
		writeXML(w, struct {
			XMLName       xml.Name `xml:"Error"`
			Code, Message string
		}{Code: f.code, Message: f.message})
	}
}

func writeXML(w io.Writer, v any) {
	_, _ = io.WriteString(w, xml.Header)
	_ = xml.NewEncoder(w).Encode(v) // the client has gone
}

func (s *S3) serve(w http.ResponseWriter, r *http.Request) error {
	digest, err := s.Credentials.verify(r, time.Now())
	if err != nil {
		return &fault{http.StatusForbidden, "SignatureDoesNotMatch", err.Error()}
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if bucket != s.Bucket {
		return &fault{http.StatusNotFound, "NoSuchBucket", bucket}
	}
	q := r.URL.Query()
	kind := r.Method
	switch {
	case key == "" && q.Has("uploads"):
		kind += " uploads"
	case key == "":
		kind += " list"
	case q.Has("partNumber"):
		kind += " part"
	case q.Has("uploads"):
		kind += " begin"
	case q.Has("uploadId"):
		kind += " upload"
	}
	s.mu.Lock()
	s.requests[kind]++
	refuse := s.refuse
	s.mu.Unlock()
	if refuse {
		return &fault{http.StatusForbidden, "AccessDenied", "the bucket is away"}
	}
	switch kind {
	case "GET", "HEAD":
		return s.get(w, r, key)
	case "PUT":
		return s.put(w, r, key, digest)
	case "DELETE":
		return s.remove(w, key)
	case "GET list":
		return s.list(w, r)
	case "GET uploads":
		return s.listUploads(w, q.Get("prefix"))
	case "POST begin":
		return s.begin(w, key)
	case "PUT part":
		return s.putPart(w, r, digest)
	case "POST upload":
		return s.complete(w, r, key)
	case "DELETE upload":
		return s.abort(w, q.Get("uploadId"))
	}
	return &fault{http.StatusNotImplemented, "NotImplemented", kind}
}

// receive stores the body of a request.
func (s *S3) receive(r *http.Request, digest string) (object, error) {
	if len(digest) != 64 {
		return object{}, &fault{http.StatusNotImplemented, "NotImplemented", "a body of " + digest}
	}
	f, err := os.CreateTemp(s.dir, "body-*")
	if err != nil {
		return object{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(f, h)}, r.Body, make([]byte, 64<<10))
	o := object{path: f.Name(), size: n, etag: `"` + hex.EncodeToString(h.Sum(nil)[:16]) + `"`, at: time.Now()}
	switch {
	case err != nil || n != r.ContentLength:
		err = &fault{http.StatusBadRequest, "IncompleteBody", fmt.Sprintf("%d of %d bytes", n, r.ContentLength)}
	case hex.EncodeToString(h.Sum(nil)) != digest:
		err = &fault{http.StatusBadRequest, "XAmzContentSHA256Mismatch", "the body is not what was signed"}
	default:
		return o, nil
	}
	os.Remove(o.path)
	return o, err
}

func (s *S3) put(w http.ResponseWriter, r *http.Request, key, digest string) error {
	o, err := s.receive(r, digest)
	if err != nil {
		return err
	}
	s.store(key, o)
	w.Header().Set("ETag", o.etag)
	return nil
}

// store makes o the object of key.
func (s *S3) store(key string, o object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.objects[key]; ok {
		os.Remove(old.path) // who reads it has it open
	}
	s.objects[key] = o
}

func (s *S3) remove(w http.ResponseWriter, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.objects[key]; ok {
		os.Remove(o.path)
		delete(s.objects, key)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *S3) get(w http.ResponseWriter, r *http.Request, key string) error {
	s.mu.Lock()
	o, ok := s.objects[key]
	var f *os.File
	var err error
	if ok {
		f, err = os.Open(o.path)
	}
	s.mu.Unlock()
	if !ok {
		return &fault{http.StatusNotFound, "NoSuchKey", key}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	from, to, status := int64(0), o.size-1, http.StatusOK
	if h := r.Header.Get("Range"); h != "" {
		a, b, ok := strings.Cut(strings.TrimPrefix(h, "bytes="), "-")
		if from, err = strconv.ParseInt(a, 10, 64); err != nil || !ok {
			return &fault{http.StatusNotImplemented, "NotImplemented", "range " + h}
		}
		if b != "" {
			if to, err = strconv.ParseInt(b, 10, 64); err != nil {
				return &fault{http.StatusNotImplemented, "NotImplemented", "range " + h}
			}
		}
		if from >= o.size || from > to {
			return &fault{http.StatusRequestedRangeNotSatisfiable, "InvalidRange", h}
		}
		to = min(to, o.size-1)
		status = http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, o.size))
	}
	w.Header().Set("ETag", o.etag)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Last-Modified", o.at.UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Length", strconv.FormatInt(to-from+1, 10))
	w.WriteHeader(status)
	if r.Method == http.MethodGet {
		_, _ = io.CopyBuffer(struct{ io.Writer }{w}, io.NewSectionReader(f, from, to-from+1), make([]byte, 64<<10))
	}
	return nil
}

const xmlTime = "2006-01-02T15:04:05.000Z"

func (s *S3) list(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	if q.Get("list-type") != "2" || q.Get("delimiter") != "" || q.Get("encoding-type") != "url" {
		return &fault{http.StatusNotImplemented, "NotImplemented", r.URL.RawQuery}
	}
	most, err := strconv.Atoi(cmp.Or(q.Get("max-keys"), "1000"))
	if err != nil || most < 0 {
		return &fault{http.StatusBadRequest, "InvalidArgument", "max-keys"}
	}
	after := cmp.Or(q.Get("continuation-token"), q.Get("start-after"))
	type content struct {
		Key, LastModified, ETag string
		Size                    int64
	}
	var answer struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		Name, Prefix          string
		KeyCount, MaxKeys     int
		EncodingType          string
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []content
	}
	s.mu.Lock()
	var keys []string
	for k := range s.objects {
		if strings.HasPrefix(k, q.Get("prefix")) && k > after {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	if len(keys) > min(most, 1000) {
		keys = keys[:min(most, 1000)]
		answer.IsTruncated = true
		answer.NextContinuationToken = keys[len(keys)-1]
	}
	for _, k := range keys {
		o := s.objects[k]
		answer.Contents = append(answer.Contents, content{escape(k, false), o.at.UTC().Format(xmlTime), o.etag, o.size})
	}
	s.mu.Unlock()
	answer.Name, answer.Prefix, answer.KeyCount, answer.MaxKeys, answer.EncodingType = s.Bucket, escape(q.Get("prefix"), false), len(keys), most, "url"
	w.Header().Set("Content-Type", "application/xml")
	writeXML(w, answer)
	return nil
}

// Files says how many bodies there are on the disk, of objects and parts.
func (s *S3) Files() int {
	list, err := filepath.Glob(filepath.Join(s.dir, "body-*"))
	if err != nil {
		return -1
	}
	return len(list)
}
