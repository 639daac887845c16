package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/penstock-dev/penstock/internal/host/access"
	"github.com/penstock-dev/penstock/internal/host/access/accesstest"
	"github.com/penstock-dev/penstock/internal/host/audit"
	"github.com/penstock-dev/penstock/internal/host/identity"
	"github.com/penstock-dev/penstock/internal/host/replay"
	"github.com/penstock-dev/penstock/internal/host/store"
)

// caller is somebody who tries every operation.
type caller struct {
	name   string
	header map[string]string
	roles  []string // everywhere
	in     map[string][]string
	admin  bool
	job    bool
	// nobody is known by no valid secret.
	nobody bool
	scopes []string
}

// world is the API over the real keeper of identities, with everybody in it.
type authWorld struct {
	api    *API
	server *httptest.Server
	rbac   *accesstest.RBAC
	keeper *identity.Keeper
	trail  *audit.Log
	log    *logBuffer
	people []caller
	// secrets are all that must never be shown again.
	secrets map[string]string
	now     time.Time
	dir     string
}

// loginFace gives the keeper the one method that it leaves to others.
type loginFace struct{ *identity.Keeper }

func (loginFace) LoginURL(code string) string { return "http://x/login#" + code }

// newAuthWorld makes it. register says which routes the API has.
func newAuthWorld(t *testing.T, register func(a *API, w *authWorld)) *authWorld {
	t.Helper()
	dir := t.TempDir()
	w := &authWorld{rbac: &accesstest.RBAC{}, log: &logBuffer{}, secrets: map[string]string{}, now: time.Now(), dir: dir}
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	db, err := store.Open(ctx, filepath.Join(dir, "store.sqlite"))
	must(err)
	t.Cleanup(func() { db.Close() })
	w.trail, err = audit.New(ctx, db, nil)
	must(err)
	replays, err := replay.New(ctx, db, nil)
	must(err)
	now := w.now
	w.keeper, err = identity.New(ctx, identity.Options{DB: db, TokenFile: filepath.Join(dir, "admin.token"), Reviewer: w.rbac, Log: log, Now: func() time.Time { return now }})
	must(err)
	w.api = New()
	w.api.Audit(w.trail)
	w.api.Idempotency(replays)
	w.api.Identity(loginFace{w.keeper})
	register(w.api, w)
	w.server = httptest.NewServer(Front(w.api.Handler(w.keeper), log))
	t.Cleanup(w.server.Close)

	admin, err := os.ReadFile(filepath.Join(dir, "admin.token"))
	must(err)
	adminToken := strings.TrimSpace(string(admin))
	bearer := func(name, token string) map[string]string {
		w.secrets[name] = token
		return map[string]string{"Authorization": "Bearer " + token}
	}
	token := func(name string, roles, scopes []string) string {
		_, err := w.keeper.CreateUser(ctx, name, roles)
		must(err)
		_, secret, err := w.keeper.CreateToken(ctx, identity.NewToken{User: name, Name: "t", Scopes: scopes, Life: time.Hour})
		must(err)
		return secret
	}
	_, err = w.keeper.CreateUser(ctx, "victim", nil)
	must(err)
	all := []string{"*"}
	add := func(c caller) { w.people = append(w.people, c) }
	add(caller{name: "anonymous", nobody: true})
	add(caller{name: "forged", header: map[string]string{"Authorization": "Bearer pst_" + strings.Repeat("0", 40)}, nobody: true})
	add(caller{name: "machine-admin", header: bearer("admin-token", adminToken), admin: true})
	for _, role := range identity.Roles() {
		add(caller{name: "the-" + role, header: bearer(role, token("the-"+role, []string{role}, all)), roles: []string{role}})
	}
	add(caller{name: "nobody-special", header: bearer("special", token("nobody-special", nil, all))})
	w.rbac.Grants = []access.Grant{{User: "foreign", Role: "developer", Project: "other"}}
	add(caller{name: "foreign", header: bearer("foreign", token("foreign", nil, all)), in: map[string][]string{"other": {"developer"}}})
	add(caller{name: "narrow-admin", header: bearer("narrow", token("narrow-admin", []string{"admin"}, []string{"runs:read"})), roles: []string{"admin"}, scopes: []string{"runs:read"}})
	job, err := w.keeper.Issue(ctx, identity.Job{Run: 1, Job: "build"}, identity.Scope{Write: []string{"demo/*"}}, time.Hour)
	must(err)
	add(caller{name: "job", header: bearer("job", job), job: true})
	_, revoked, err := w.keeper.CreateToken(ctx, identity.NewToken{User: "the-admin", Name: "old", Scopes: all, Life: time.Hour})
	must(err)
	tokens, err := w.keeper.Tokens(ctx, "the-admin")
	must(err)
	for _, old := range tokens {
		if old.Name == "old" {
			must(w.keeper.RevokeToken(ctx, old.ID))
		}
	}
	add(caller{name: "revoked", header: bearer("revoked", revoked), nobody: true})
	code, _, err := w.keeper.NewLogin(ctx, identity.Principal{Admin: true}, "the-developer")
	must(err)
	_, cookie, err := w.keeper.Login(httptest.NewRequest("POST", "/", nil), code)
	must(err)
	w.secrets["login code"], w.secrets["session"] = code, cookie.Value
	add(caller{name: "session without csrf", header: map[string]string{"Cookie": cookie.Name + "=" + cookie.Value}, roles: []string{"developer"}})
	return w
}

// everything registers each noun over rooms that know nothing, except those of
// identity, which are real.
func everything(t *testing.T) func(a *API, w *authWorld) {
	return func(a *API, _ *authWorld) {
		r := newRooms()
		r.setRun(allRuns)
		done := map[string]bool{"Audit": true, "Idempotency": true, "Identity": true}
		rooms := map[string]any{
			"Repos": &memory{{Name: "demo/shop"}}, "CIRuns": runRoom{r}, "Applications": appRoom{r}, "Events": eventRoom{r}, "Stream": r, "Grants": noGrants{},
		}
		v := reflect.ValueOf(a)
		for name, room := range rooms {
			v.MethodByName(name).Call([]reflect.Value{reflect.ValueOf(room)})
			done[name] = true
		}
		// Nouns that came later join without their rooms: what is refused never
		// reaches one, and what is let in ends in the front's 500.
		for i := range v.NumMethod() {
			m := v.Type().Method(i)
			mt := v.Method(i).Type()
			if done[m.Name] || mt.NumOut() != 0 || mt.NumIn() == 0 {
				continue
			}
			args := make([]reflect.Value, mt.NumIn())
			usable := true
			for j := range args {
				usable = usable && mt.In(j).Kind() == reflect.Interface
				args[j] = reflect.Zero(mt.In(j))
			}
			if usable {
				v.Method(i).Call(args)
			}
		}
	}
}

type noGrants struct{}

func (noGrants) Grants(context.Context, identity.Principal, string) ([]access.Grant, error) {
	return []access.Grant{}, nil
}
func (noGrants) Give(context.Context, identity.Principal, access.Grant) error { return nil }
func (noGrants) Take(context.Context, identity.Principal, access.Grant) error { return nil }

// operation is one of the description, with a request that is well formed.
type operation struct {
	*huma.Operation
	method, path string
}

func operations(a *API) []operation {
	var all []operation
	for path, item := range a.huma.OpenAPI().Paths {
		for method, op := range map[string]*huma.Operation{
			"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete,
			"HEAD": item.Head, "OPTIONS": item.Options, "TRACE": item.Trace,
		} {
			if op != nil {
				all = append(all, operation{op, method, path})
			}
		}
	}
	slices.SortFunc(all, func(a, b operation) int { return strings.Compare(a.OperationID, b.OperationID) })
	return all
}

// samples are values that fit where a schema does not say more.
var samples = map[string]any{
	"owner": "demo", "name": "shop", "namespace": "demo", "project": "demo", "role": "reader", "user": "victim",
	"id": "1", "topic": "events", "verb": "get", "resource": "runs", "code": "psl_x", "path": "x", "pattern": "main",
}

func (o operation) request(t *testing.T, a *API, url string) *http.Request {
	t.Helper()
	path, query := o.path, []string{}
	for _, p := range o.Parameters {
		v, ok := samples[p.Name]
		if !ok {
			v = sample(a, p.Schema, p.Name)
		}
		switch {
		case p.In == "path":
			path = strings.ReplaceAll(path, "{"+p.Name+"}", fmt.Sprint(v))
		case p.In == "query" && p.Required || p.Name == "topic":
			query = append(query, fmt.Sprintf("%s=%v", p.Name, v))
		}
	}
	if strings.Contains(path, "{") {
		t.Fatalf("%s: a parameter of %s is not described", o.OperationID, path)
	}
	var body io.Reader
	if o.RequestBody != nil {
		var b []byte
		if media := o.RequestBody.Content["application/json"]; media != nil {
			var err error
			if b, err = json.Marshal(sample(a, media.Schema, "")); err != nil {
				t.Fatal(err)
			}
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(o.method, url+path+"?"+strings.Join(query, "&"), body)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req
}

// sample makes a value that a schema allows.
func sample(a *API, s *huma.Schema, name string) any {
	if s.Ref != "" {
		s = a.huma.OpenAPI().Components.Schemas.SchemaFromRef(s.Ref)
	}
	switch {
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Default != nil:
		return s.Default
	}
	switch s.Type {
	case huma.TypeObject:
		m := map[string]any{}
		for _, field := range s.Required {
			m[field] = sample(a, s.Properties[field], field)
		}
		return m
	case huma.TypeArray:
		return []any{}
	case huma.TypeInteger, huma.TypeNumber:
		return 1
	case huma.TypeBoolean:
		return false
	}
	switch {
	case name == "name" && s.Examples != nil && len(s.Examples) > 0:
		return s.Examples[0]
	case len(s.Examples) > 0:
		return s.Examples[0]
	case samples[name] != nil:
		return samples[name]
	}
	return "x"
}

// project is where the sample of an operation is: in its path or its body.
const matrixProject = "demo"

// TestWhoMayDoWhat tries every operation as everybody, and compares with what
// the operation says that it needs and what the roles say. Operations that
// come later join by being described; one that declares no need fails.
func TestWhoMayDoWhat(t *testing.T) {
	w := newAuthWorld(t, everything(t))
	ops := operations(w.api)
	if len(ops) < 25 {
		t.Fatalf("%d operations: the description is not walked", len(ops))
	}
	refused, admitted := 0, 0
	for _, op := range ops {
		n, declared := w.api.needs[op.OperationID]
		if !declared || op.Extensions["x-penstock-requires"] != n.String() {
			t.Errorf("%s declares nothing that a caller needs: register it with handle", op.OperationID)
			continue
		}
		if n.kind == byRole && (n.verb == "" || n.resource == "") || op.OperationID == "" {
			t.Errorf("%s %s: half a need: %s", op.method, op.path, n)
		}
		for _, c := range w.people {
			// Each gets an API of its own mind: what one does must not change
			// the next one's answer, so repositories and users may be gone.
			want := w.expect(op, n, c)
			req := op.request(t, w.api, w.server.URL)
			for k, v := range c.header {
				req.Header.Set(k, v)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			resp, err := http.DefaultClient.Do(req.WithContext(ctx))
			if err != nil {
				t.Fatal(err)
			}
			code := resp.StatusCode
			if op.OperationID != "get-stream" {
				_, _ = io.Copy(io.Discard, resp.Body)
			}
			cancel()
			resp.Body.Close()
			switch want {
			case "unknown":
				refused++
				if code != http.StatusUnauthorized && code != http.StatusTooManyRequests {
					t.Errorf("%s as %s: %d, want 401", op.OperationID, c.name, code)
				}
			case "refused":
				refused++
				if code != http.StatusForbidden && !(n.hidden && code == http.StatusNotFound) {
					t.Errorf("%s as %s: %d, want 403", op.OperationID, c.name, code)
				}
			default:
				admitted++
				if (code == http.StatusUnauthorized && op.OperationID != "log-in") || code == http.StatusForbidden && !inner[op.OperationID] {
					t.Errorf("%s as %s: %d, and they may (%s)", op.OperationID, c.name, code, n)
				}
			}
		}
	}
	if refused < 50 || admitted < 50 {
		t.Errorf("%d refused, %d admitted: this test asks the wrong questions", refused, admitted)
	}
}

// inner are operations that look at more than who asks: making a token or a
// link refuses who comes with a narrower one, the stream asks for each topic.
var inner = map[string]bool{"create-token": true, "create-login-link": true, "get-stream": true, "create-user": true}

// expect says by the roles themselves, not by what the API asks, whether a
// caller is unknown, refused or admitted.
func (w *authWorld) expect(op operation, n need, c caller) string {
	switch {
	case n.kind == anybody:
		return "admitted"
	case c.nobody:
		return "unknown"
	case c.admin:
		return "admitted"
	case c.job:
		return "refused"
	case strings.HasPrefix(c.name, "session") && op.method != "GET":
		return "refused" // it does not carry what our own page would
	case n.kind == known:
		return "admitted"
	case n.kind == own && op.OperationID != "revoke-token": // the samples name nobody: oneself
		return "admitted"
	}
	roles := c.roles
	project := matrixProject
	if !strings.Contains(op.path, "{owner}") && !strings.Contains(op.path, "{namespace}") && !slices.Contains(inProject, op.OperationID) {
		project = ""
	}
	roles = append(slices.Clone(roles), c.in[project]...)
	if len(c.scopes) > 0 {
		resource, _, _ := strings.Cut(n.resource, "/")
		if resource != "runs" || n.verb != "get" && n.verb != "list" {
			return "refused"
		}
	}
	if n.scoped && len(c.scopes) == 0 {
		return "admitted" // to what they see: TestListsShowWhatIsTheirs
	}
	group := n.group
	if group == "" {
		group = identity.Group
	}
	for _, role := range roles {
		ok, err := w.rbac.Review(context.Background(), identity.Principal{Roles: []string{role}}, identity.Action{Group: group, Verb: n.verb, Resource: n.resource, Project: project})
		if err == nil && ok {
			return "admitted"
		}
	}
	if n.kind == own {
		return "admitted" // to be told that there is no such token
	}
	return "refused"
}

// inProject are operations whose sample is of a project by its body or by the
// thing that it names.
var inProject = []string{"create-repo", "get-run", "cancel-run", "get-run-logs", "get-run-summary", "create-user-role", "delete-user-role", "list-applications"}
