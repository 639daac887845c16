package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/penstock-dev/penstock/internal/base/problem"
	"github.com/penstock-dev/penstock/internal/host/identity"
)

// Identity is what the routes of users, tokens and sessions need.
type Identity interface {
	NewLogin(ctx context.Context, by identity.Principal, user string) (code string, expires time.Time, err error)
	LoginURL(code string) string
	Login(r *http.Request, code string) (identity.Principal, *http.Cookie, error)
	Sessions(ctx context.Context, user string) ([]identity.Session, error)
	EndSession(ctx context.Context, user, id string) error

	Users(ctx context.Context) ([]identity.User, error)
	CreateUser(ctx context.Context, name string, roles []string) (identity.User, error)
	DeleteUser(ctx context.Context, name string) error

	CreateToken(ctx context.Context, n identity.NewToken) (identity.Token, string, error)
	Tokens(ctx context.Context, user string) ([]identity.Token, error)
	Token(ctx context.Context, id string) (identity.Token, error)
	RevokeToken(ctx context.Context, id string) error
}

// Me is who the caller is.
type Me struct {
	Name    string   `json:"name"`
	Admin   bool     `json:"admin" doc:"this machine's administrator, who may do everything"`
	Roles   []string `json:"roles" nullable:"false" doc:"in all projects"`
	Groups  []string `json:"groups" nullable:"false" doc:"in Kubernetes"`
	Via     string   `json:"via" doc:"how the caller is known: admin-token, token/ID, session/ID"`
	CSRF    string   `json:"csrf,omitempty" doc:"of a session: what every write carries in the header X-Penstock-CSRF"`
	Session string   `json:"session,omitempty" doc:"id of the session"`
}

func meOf(p identity.Principal) Me {
	roles := p.Roles
	if roles == nil {
		roles = []string{}
	}
	return Me{Name: p.Name, Admin: p.Admin, Roles: roles, Groups: p.Groups(), Via: p.Via, CSRF: p.CSRF(), Session: p.Session()}
}

// Access is the answer to whether the caller may do something.
type Access struct {
	Allowed bool   `json:"allowed"`
	Reason  string `json:"reason,omitempty"`
}

type accessQuery struct {
	Verb     string `query:"verb" required:"true" minLength:"1" maxLength:"40"`
	Resource string `query:"resource" required:"true" minLength:"1" maxLength:"100" doc:"runs, runs/log, repositories …"`
	Group    string `query:"group" maxLength:"100" default:"penstock.dev"`
	Project  string `query:"project" maxLength:"100" doc:"all of them when left out"`
	Name     string `query:"name" maxLength:"200"`
}

type loggedIn struct {
	SetCookie string `header:"Set-Cookie"`
	Body      Me
}

type loggedOut struct {
	SetCookie string `header:"Set-Cookie"`
}

type loginCode struct {
	Code string `json:"code" minLength:"1" maxLength:"100" doc:"the part of a login link after the #"`
}

type newLink struct {
	User string `json:"user,omitempty" maxLength:"100" doc:"whom the link logs in; the caller when left out"`
}

// Link logs a browser in, once.
type Link struct {
	URL       string    `json:"url"`
	User      string    `json:"user"`
	ExpiresAt time.Time `json:"expiresAt"`
}

type sessionPath struct {
	ID string `path:"id" maxLength:"40"`
}

// Identity registers /api/v1/me, the log-in, users and tokens.
func (a *API) Identity(s Identity) {
	a.me()
	a.login(s)
	a.sessions(s)
	a.users(s)
	a.tokens(s)
}

func (a *API) me() {
	const tag = "me"
	handle(a, route("get-me", http.MethodGet, "/api/v1/me", tag, "Say who the caller is"), need{kind: known}, nil,
		func(ctx context.Context, _ *struct{}) (*body[Me], error) {
			p, _ := Caller(ctx)
			return &body[Me]{meOf(p)}, nil
		})
	handle(a, route("get-access", http.MethodGet, "/api/v1/me/access", tag, "Say whether the caller may do something"), need{kind: known}, nil,
		func(ctx context.Context, in *accessQuery) (*body[Access], error) {
			p, _ := Caller(ctx)
			err := a.auth.Allow(ctx, p, identity.Action{Group: in.Group, Verb: in.Verb, Resource: in.Resource, Project: in.Project, Name: in.Name})
			if err != nil && (unavailable(err) || !errors.Is(err, problem.ErrForbidden)) {
				return nil, err
			}
			out := Access{Allowed: err == nil}
			if err != nil {
				out.Reason = err.Error()
			}
			return &body[Access]{out}, nil
		})
}

func (a *API) login(s Identity) {
	const tag = "login"
	link := route("create-login-link", http.MethodPost, "/api/v1/login-links", tag, "Make a link that logs a browser in, once and soon", http.StatusNotFound, http.StatusUnprocessableEntity)
	link.DefaultStatus = http.StatusCreated
	handle(a, link, need{verb: "create", resource: "users/login", sealed: true},
		func(ctx context.Context, in *body[newLink]) (target, error) {
			p, _ := Caller(ctx)
			if in.Body.User == "" {
				in.Body.User = p.Name
			}
			return target{name: in.Body.User}, nil
		},
		func(ctx context.Context, in *body[newLink]) (*body[Link], error) {
			p, _ := Caller(ctx)
			if !p.Covers([]string{"*"}, nil) {
				return nil, errNarrow
			}
			code, expires, err := s.NewLogin(ctx, p, in.Body.User)
			if err != nil {
				return nil, err
			}
			return &body[Link]{Link{s.LoginURL(code), in.Body.User, expires}}, nil
		})
	in := route("log-in", http.MethodPost, "/api/v1/session", tag, "Log in with the code of a login link: the answer sets a cookie", http.StatusUnauthorized, http.StatusTooManyRequests)
	handle(a, in, need{kind: anybody, sealed: true}, nil,
		func(ctx context.Context, in *body[loginCode]) (*loggedIn, error) {
			p, cookie, err := s.Login(requestOf(ctx).http.WithContext(ctx), in.Body.Code)
			if err != nil {
				return nil, err
			}
			return &loggedIn{cookie.String(), meOf(p)}, nil
		})
}

func (a *API) sessions(s Identity) {
	const tag = "login"
	out := route("log-out", http.MethodDelete, "/api/v1/session", tag, "End the session that makes the request", http.StatusNotFound)
	out.DefaultStatus = http.StatusNoContent
	handle(a, out, need{kind: known}, nil,
		func(ctx context.Context, _ *struct{}) (*loggedOut, error) {
			p, _ := Caller(ctx)
			return &loggedOut{identity.NoCookie(requestOf(ctx).http).String()}, s.EndSession(ctx, p.Name, p.Session())
		})
	handle(a, route("list-sessions", http.MethodGet, "/api/v1/sessions", tag, "List the caller's sessions", http.StatusUnprocessableEntity), need{kind: known}, nil,
		func(ctx context.Context, in *Paging) (*body[Page[identity.Session]], error) {
			p, _ := Caller(ctx)
			all, err := s.Sessions(ctx, p.Name)
			if err != nil {
				return nil, err
			}
			page, err := pageOf(all, *in, listID("sessions"), false, func(s identity.Session) string { return s.ID })
			return &body[Page[identity.Session]]{page}, err
		})
	end := route("end-session", http.MethodDelete, "/api/v1/sessions/{id}", tag, "End one of the caller's sessions", http.StatusNotFound)
	end.DefaultStatus = http.StatusNoContent
	handle(a, end, need{kind: known},
		func(_ context.Context, in *sessionPath) (target, error) { return target{name: in.ID}, nil },
		func(ctx context.Context, in *sessionPath) (*struct{}, error) {
			p, _ := Caller(ctx)
			return nil, s.EndSession(ctx, p.Name, in.ID)
		})
}

// errNarrow refuses a wider secret to who comes with a narrow one.
var errNarrow = forbidden("the token that makes the request is narrower than what it asks for")

type forbidden string

func (f forbidden) Error() string { return string(f) }
func (forbidden) Unwrap() error   { return problem.ErrForbidden }
