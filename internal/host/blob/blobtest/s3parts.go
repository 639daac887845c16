package blobtest

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// minPart is the least size of all parts but the last.
const minPart = 5 << 20

func (s *S3) begin(w http.ResponseWriter, key string) error {
	s.mu.Lock()
	s.serial++
	id := fmt.Sprintf("upload-%d", s.serial)
	s.uploads[id] = &upload{key: key, parts: map[int]object{}, at: time.Now()}
	s.mu.Unlock()
	writeXML(w, struct {
		XMLName     xml.Name `xml:"InitiateMultipartUploadResult"`
		Bucket, Key string
		UploadID    string `xml:"UploadId"`
	}{Bucket: s.Bucket, Key: key, UploadID: id})
	return nil
}

func (s *S3) putPart(w http.ResponseWriter, r *http.Request, digest string) error {
	q := r.URL.Query()
	n, err := strconv.Atoi(q.Get("partNumber"))
	if err != nil || n < 1 || n > 10_000 {
		return &fault{http.StatusBadRequest, "InvalidArgument", "partNumber"}
	}
	o, err := s.receive(r, digest)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.uploads[q.Get("uploadId")]
	if !ok {
		os.Remove(o.path)
		return &fault{http.StatusNotFound, "NoSuchUpload", q.Get("uploadId")}
	}
	if old, ok := u.parts[n]; ok {
		os.Remove(old.path)
	}
	u.parts[n] = o
	w.Header().Set("ETag", o.etag)
	return nil
}

func (s *S3) abort(w http.ResponseWriter, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.uploads[id]
	if !ok {
		return &fault{http.StatusNotFound, "NoSuchUpload", id}
	}
	s.forget(id, u)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// forget removes an upload with its parts.
func (s *S3) forget(id string, u *upload) {
	for _, p := range u.parts {
		os.Remove(p.path)
	}
	delete(s.uploads, id)
}

func (s *S3) complete(w http.ResponseWriter, r *http.Request, key string) error {
	var body struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := xml.NewDecoder(io.LimitReader(r.Body, 4<<20)).Decode(&body); err != nil {
		return &fault{http.StatusBadRequest, "MalformedXML", err.Error()}
	}
	id := r.URL.Query().Get("uploadId")
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.uploads[id]
	if !ok || u.key != key {
		return &fault{http.StatusNotFound, "NoSuchUpload", id}
	}
	f, err := os.CreateTemp(s.dir, "body-*")
	if err != nil {
		return err
	}
	defer f.Close()
	o := object{path: f.Name(), etag: fmt.Sprintf(`"%s-%d"`, id, len(body.Part)), at: time.Now()}
	for i, p := range body.Part {
		have, ok := u.parts[p.PartNumber]
		switch {
		case i > 0 && p.PartNumber <= body.Part[i-1].PartNumber:
			err = &fault{http.StatusBadRequest, "InvalidPartOrder", strconv.Itoa(p.PartNumber)}
		case !ok || strings.Trim(p.ETag, `"`) != strings.Trim(have.etag, `"`):
			err = &fault{http.StatusBadRequest, "InvalidPart", strconv.Itoa(p.PartNumber)}
		case i < len(body.Part)-1 && have.size < minPart:
			err = &fault{http.StatusBadRequest, "EntityTooSmall", strconv.Itoa(p.PartNumber)}
		default:
			err = appendFile(f, have.path)
		}
		if err != nil {
			os.Remove(o.path)
			return err
		}
		o.size += have.size
	}
	s.forget(id, u)
	if old, ok := s.objects[key]; ok {
		os.Remove(old.path)
	}
	s.objects[key] = o
	writeXML(w, struct {
		XMLName           xml.Name `xml:"CompleteMultipartUploadResult"`
		Bucket, Key, ETag string
	}{Bucket: s.Bucket, Key: key, ETag: o.etag})
	return nil
}

func appendFile(to *os.File, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(to, f)
	return err
}

func (s *S3) listUploads(w http.ResponseWriter, prefix string) error {
	type entry struct {
		Key       string
		UploadID  string `xml:"UploadId"`
		Initiated string
	}
	var answer struct {
		XMLName     xml.Name `xml:"ListMultipartUploadsResult"`
		Bucket      string
		IsTruncated bool
		Upload      []entry
	}
	answer.Bucket = s.Bucket
	s.mu.Lock()
	for id, u := range s.uploads {
		if strings.HasPrefix(u.key, prefix) {
			answer.Upload = append(answer.Upload, entry{escape(u.key, false), id, u.at.UTC().Format(xmlTime)})
		}
	}
	s.mu.Unlock()
	writeXML(w, answer)
	return nil
}
