package api

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
)

// loginPage logs a browser in with the code after the # of its address, which
// browsers send to nobody: a link that is looked at by a scanner or kept in a
// log is not used up, and not given away.
const loginPage = `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Log in to Penstock</title>
<main><h1>Penstock</h1><p id="said" role="status">Logging in …</p><noscript>Logging in needs JavaScript.</noscript></main>
<script>` + loginScript + `</script></html>
`

const loginScript = `
(async () => {
  const say = t => { document.getElementById("said").textContent = t; };
  const code = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  if (!code) return say("This page needs a login link. Make one with: penstock login-link");
  try {
    const r = await fetch("/api/v1/session", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({code})});
    const a = await r.json();
    if (!r.ok) return say(a.detail + ". Make a new link with: penstock login-link");
    say("Logged in as " + a.name + ".");
    location.replace("/");
  } catch (e) { say("The server does not answer: " + e.message); }
})();
`

// LoginPage serves the page that login links lead to.
func LoginPage() http.Handler {
	sum := sha256.Sum256([]byte(loginScript))
	policy := strings.Join([]string{
		"default-src 'none'", "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
		"script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'",
	}, "; ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET")
			writeProblem(w, http.StatusMethodNotAllowed, r.Method+" is not possible at "+r.URL.Path)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", policy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		_, _ = w.Write([]byte(loginPage))
	})
}
