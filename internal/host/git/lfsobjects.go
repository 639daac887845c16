package git

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/blob"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// lfsObject is an object as the batch API names it.
type lfsObject struct {
	OID     string               `json:"oid"`
	Size    int64                `json:"size"`
	Actions map[string]lfsAction `json:"actions,omitempty"`
	Error   *lfsObjectError      `json:"error,omitempty"`
}

type lfsAction struct {
	Href      string `json:"href"`
	ExpiresIn int    `json:"expires_in,omitempty"`
}

type lfsObjectError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// batch says for each object where to put or get it.
func (x *lfsExchange) batch() error {
	var in struct {
		Operation string      `json:"operation"`
		Transfers []string    `json:"transfers"`
		Objects   []lfsObject `json:"objects"`
		HashAlgo  string      `json:"hash_algo"`
	}
	if err := x.read(&in); err != nil {
		return err
	}
	if in.HashAlgo != "" && in.HashAlgo != "sha256" {
		return &lfsError{http.StatusConflict, "objects are named by their sha256 here, not by " + strconv.Quote(in.HashAlgo)}
	}
	if len(in.Objects) > maxLFSBatch {
		return &lfsError{http.StatusRequestEntityTooLarge, fmt.Sprintf("ask for at most %d objects at a time", maxLFSBatch)}
	}
	upload := false
	switch in.Operation {
	case "upload":
		if err := x.authorize(true); err != nil {
			return err
		}
		upload = true
	case "download":
	default:
		return &lfsError{http.StatusUnprocessableEntity, "operation " + strconv.Quote(in.Operation) + " is neither upload nor download"}
	}
	if len(in.Transfers) > 0 && !contains(in.Transfers, "basic") {
		return &lfsError{http.StatusUnprocessableEntity, "only the basic transfer is served"}
	}
	have, used, err := x.server.lfsObjects(x.req.Context(), x.repo)
	if err != nil {
		return err
	}
	out := make([]lfsObject, 0, len(in.Objects))
	for _, o := range in.Objects {
		o.Actions, o.Error = nil, nil
		size, there := have[o.OID]
		switch {
		case !oidForm.MatchString(o.OID) || o.Size < 0:
			o.Error = &lfsObjectError{http.StatusUnprocessableEntity, "not the name and size of an object"}
		case there && size != o.Size:
			o.Error = &lfsObjectError{http.StatusUnprocessableEntity, fmt.Sprintf("the object has %d bytes, not %d", size, o.Size)}
		case there && !upload:
			o.Actions = map[string]lfsAction{"download": {x.href(o.OID), lfsExpires}}
		case there: // nothing to do
		case !upload:
			o.Error = &lfsObjectError{http.StatusNotFound, "the object is not here"}
		case o.Size > x.server.maxLFSFile:
			o.Error = &lfsObjectError{http.StatusUnprocessableEntity, fmt.Sprintf("the object has %s, more than the %s that are taken here", bytesText(o.Size), bytesText(x.server.maxLFSFile))}
		case used+o.Size > x.server.maxLFS:
			o.Error = &lfsObjectError{http.StatusInsufficientStorage, fmt.Sprintf("with this object %s would hold more than the %s of large files that a repository may have here", x.repo, bytesText(x.server.maxLFS))}
		default:
			used += o.Size
			o.Actions = map[string]lfsAction{"upload": {x.href(o.OID), lfsExpires}, "verify": {x.href(o.OID) + "/verify", lfsExpires}}
		}
		out = append(out, o)
	}
	return x.answer(http.StatusOK, map[string]any{"transfer": "basic", "hash_algo": "sha256", "objects": out})
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// href is where an object is, under the name by which the client knows us.
func (x *lfsExchange) href(oid string) string {
	scheme, _, ok := strings.Cut(x.server.names.clone, "://")
	if !ok {
		scheme = "http"
	}
	return scheme + "://" + x.req.Host + "/git/" + x.repo + ".git/info/lfs/objects/" + oid
}

// lfsKey is where a repository's object is among the blobs. Repositories share
// none: knowing a name must not open another's file.
func lfsKey(uid, oid string) string { return lfsPrefix(uid) + oid[:2] + "/" + oid }

func lfsPrefix(uid string) string { return "lfs/" + uid + "/" }

// uid returns what tells a repository from others that have had its name.
func (s *Server) uid(ctx context.Context, repo string) (uid string, err error) {
	err = s.db.Read(ctx, func(q store.Queryer) error {
		return q.QueryRowContext(ctx, `SELECT uid FROM git_repos WHERE name = $1`, repo).Scan(&uid)
	})
	if errors.Is(err, sql.ErrNoRows) {
		err = problem.ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("repository %s: %w", repo, err)
	}
	return uid, nil
}

// lfsObjects returns the sizes of a repository's objects, and their sum.
func (s *Server) lfsObjects(ctx context.Context, repo string) (sizes map[string]int64, total int64, err error) {
	sizes = map[string]int64{}
	err = s.db.Read(ctx, func(q store.Queryer) error {
		rows, err := q.QueryContext(ctx, `SELECT oid, size FROM git_lfs WHERE repo = $1`, repo)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var oid string
			var size int64
			if err := rows.Scan(&oid, &size); err != nil {
				return err
			}
			sizes[oid] = size
			total += size
		}
		return rows.Err()
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read large files of %s: %w", repo, err)
	}
	return sizes, total, nil
}

// upload stores the request's body as the object, if it is that.
func (x *lfsExchange) upload(oid string) error {
	ctx, s := x.req.Context(), x.server
	size := x.req.ContentLength
	switch {
	case size < 0:
		return &lfsError{http.StatusLengthRequired, "say how long the object is"}
	case size > s.maxLFSFile:
		return &lfsError{http.StatusRequestEntityTooLarge, tooLarge(s.maxLFSFile)}
	}
	_, used, err := s.lfsObjects(ctx, x.repo)
	if err != nil {
		return err
	}
	if used+size > s.maxLFS {
		return &lfsError{http.StatusInsufficientStorage, fmt.Sprintf("%s would hold more than the %s of large files that a repository may have here", x.repo, bytesText(s.maxLFS))}
	}
	uid, err := s.uid(ctx, x.repo)
	if err != nil {
		return err
	}
	if _, err := s.blobs.Put(ctx, lfsKey(uid, oid), x.paced, blob.Expect{Size: size, Empty: size == 0, Digest: "sha256:" + oid}); err != nil {
		if errors.Is(err, problem.ErrInvalid) {
			return &lfsError{http.StatusUnprocessableEntity, "what came is not the object: " + err.Error()}
		}
		return fmt.Errorf("store object %s: %w", oid, err)
	}
	err = s.db.Write(ctx, func(tx store.Tx) error {
		// A repository that was deleted meanwhile gets nothing recorded.
		_, err := tx.ExecContext(ctx, `INSERT INTO git_lfs (repo, oid, size)
			SELECT name, CAST($1 AS TEXT), CAST($2 AS BIGINT) FROM git_repos WHERE name = $3 AND uid = $4
			ON CONFLICT (repo, oid) DO NOTHING`, oid, size, x.repo, uid)
		return err
	})
	if err != nil {
		return fmt.Errorf("record object %s: %w", oid, err)
	}
	x.w.WriteHeader(http.StatusOK)
	return nil
}

// verify says whether an upload has arrived.
func (x *lfsExchange) verify(oid string) error {
	var in lfsObject
	if err := x.read(&in); err != nil {
		return err
	}
	have, _, err := x.server.lfsObjects(x.req.Context(), x.repo)
	if err != nil {
		return err
	}
	if size, ok := have[oid]; !ok || in.OID != oid || in.Size != size {
		return &lfsError{http.StatusNotFound, "the object is not here"}
	}
	return x.answer(http.StatusOK, struct{}{})
}

// download sends an object, or the range of it that a client that was cut off
// asks for.
func (x *lfsExchange) download(oid string) error {
	ctx, s := x.req.Context(), x.server
	have, _, err := s.lfsObjects(ctx, x.repo)
	if err != nil {
		return err
	}
	size, ok := have[oid]
	if !ok {
		return &lfsError{http.StatusNotFound, "the object is not here"}
	}
	uid, err := s.uid(ctx, x.repo)
	if err != nil {
		return err
	}
	from, length, partial := parseRange(x.req.Header.Get("Range"), size)
	h := x.w.Header()
	if from < 0 {
		h.Set("Content-Range", "bytes */"+strconv.FormatInt(size, 10))
		return &lfsError{http.StatusRequestedRangeNotSatisfiable, "the object has only " + strconv.FormatInt(size, 10) + " bytes"}
	}
	body, _, err := s.blobs.Get(ctx, lfsKey(uid, oid), from, length)
	if err != nil {
		return fmt.Errorf("read object %s: %w", oid, err)
	}
	defer body.Close()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.FormatInt(length, 10))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Accept-Ranges", "bytes")
	code := http.StatusOK
	if partial {
		code = http.StatusPartialContent
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, from+length-1, size))
	}
	x.w.WriteHeader(code)
	if _, err := io.Copy(onlyWriter{x.paced}, body); err != nil {
		s.log.Debug("large file was not taken whole", "repo", x.repo, "oid", oid, "error", err)
		panic(http.ErrAbortHandler) // what was sent must not look complete
	}
	return nil
}

// parseRange reads a Range header with one range. from is negative when there
// is nothing in it; what cannot be read counts as no range, as HTTP says.
func parseRange(header string, size int64) (from, length int64, partial bool) {
	all := func() (int64, int64, bool) { return 0, size, false }
	spec, ok := strings.CutPrefix(header, "bytes=")
	first, last, ok2 := strings.Cut(spec, "-")
	if !ok || !ok2 || strings.Contains(last, ",") {
		return all()
	}
	number := func(s string) (int64, bool) {
		n, err := strconv.ParseInt(s, 10, 64)
		return n, err == nil && s[0] >= '0' && s[0] <= '9'
	}
	if first == "" { // the last so many bytes
		n, ok := number(last)
		if !ok {
			return all()
		}
		if n == 0 || size == 0 {
			return -1, 0, false
		}
		n = min(n, size)
		return size - n, n, true
	}
	a, ok := number(first)
	if !ok {
		return all()
	}
	b := size - 1
	if last != "" {
		if b, ok = number(last); !ok || b < a {
			return all()
		}
		b = min(b, size-1)
	}
	if a >= size {
		return -1, 0, false
	}
	return a, b - a + 1, true
}

// dropLFS removes the large files of a repository that is gone.
func (s *Server) dropLFS(ctx context.Context, uid string) error {
	if s.blobs == nil || uid == "" {
		return nil
	}
	for {
		list, err := s.blobs.List(ctx, lfsPrefix(uid), "", 1000)
		if err != nil {
			return fmt.Errorf("list large files: %w", err)
		}
		if len(list) == 0 {
			return nil
		}
		for _, b := range list {
			if err := s.blobs.Delete(ctx, b.Key); err != nil {
				return fmt.Errorf("delete large file: %w", err)
			}
		}
	}
}
