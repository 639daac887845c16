package identity

import (
	"net/http"
	"strings"
)

// Cookie is the name of the cookie that holds a session's secret, CSRFHeader
// the header that every write with it must carry.
const (
	Cookie     = "penstock_session"
	CSRFHeader = "X-Penstock-CSRF"
)

// Prefixes tell what a secret is for, also to scanners of leaked ones.
const (
	adminPrefix   = "pst_"
	jobPrefix     = "psj_"
	userPrefix    = "psu_"
	sessionPrefix = "pss_"
	loginPrefix   = "psl_"
)

// maxSecret bounds what is hashed of a header.
const maxSecret = 256

// bearer returns the token in the Authorization header.
func bearer(r *http.Request) (token string, ok bool) {
	if _, password, ok := r.BasicAuth(); ok {
		return password, password != "" && len(password) <= maxSecret
	}
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	return token, ok && token != "" && len(token) <= maxSecret && (strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "token"))
}

// cookie returns the session's secret. Two cookies of the name are a sign that
// somebody has planted one: then there is none.
func cookie(r *http.Request) (secret string, ok bool) {
	all := r.CookiesNamed(Cookie)
	if len(all) != 1 || len(all[0].Value) > maxSecret || !strings.HasPrefix(all[0].Value, sessionPrefix) {
		return "", false
	}
	return all[0].Value, true
}
