package registry_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/host/registry"
	"github.com/penstock-dev/penstock/internal/host/registry/storage"
)

// canary knows one token, which must never be seen again.
type canary struct{ access }

const canaryToken = "pst_canary0123456789"

func (c canary) Identify(r *http.Request) (registry.User, error) {
	if _, token, _ := r.BasicAuth(); token == canaryToken {
		return registry.User{Name: "ann", May: func(repo string, _ bool) bool { return strings.HasPrefix(repo, "demo/") }}, nil
	}
	return c.access.Identify(r)
}

// TestNoTokenIsTold makes requests that succeed, fail and are refused, and
// looks for the token in every answer and in the log.
func TestNoTokenIsTold(t *testing.T) {
	w := start(t, func(o *registry.Options, _ *storage.Options) { o.Access = canary{} })
	w.token = ""
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("ann:"+canaryToken))
	seen := 0
	for _, authorization := range []string{basic, "Bearer " + canaryToken, basic + "x"} {
		for _, path := range []string{"/v2/", "/v2/demo/shop/manifests/v1", "/v2/other/app/manifests/v1", "/v2/demo/shop/blobs/" + never, "/v2/demo/shop/tags/list", "/v2/demo/../x"} {
			for _, method := range []string{"GET", "PUT", "POST", "DELETE"} {
				a := w.do(method, path, []byte("{}"), "Authorization", authorization)
				told := fmt.Sprint(a.Header) + string(a.body)
				if strings.Contains(told, canaryToken) || strings.Contains(told, basic[6:]) {
					t.Errorf("%s %s tells %s", method, path, told)
				}
				seen++
			}
		}
	}
	a := w.do("POST", "/v2/demo/shop/blobs/uploads/?digest="+never, nil, "Authorization", basic)
	w.want(a, 201)
	w.want(w.do("PUT", "/v2/demo/shop/manifests/v1", []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`), "Authorization", basic), 201)
	log := w.log.String()
	if !strings.Contains(log, "manifest pushed") || !strings.Contains(log, "user=ann") {
		t.Errorf("the log has nothing of it: %s", log)
	}
	if strings.Contains(log, canaryToken) || strings.Contains(log, basic[6:]) || seen == 0 {
		t.Errorf("the log has the token: %s", log)
	}
}
