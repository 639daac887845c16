package route

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The kinds of the Gateway API, as far as the gateway serves them. They are
// decoded strictly: what is not here is not served, and the object's status
// says so instead of leaving it out in silence.

// Controller is the name under which the gateway takes GatewayClasses and
// writes status.
const Controller = "penstock.dev/gateway"

// GatewayGroup is the API group of the Gateway API.
const GatewayGroup = "gateway.networking.k8s.io"

// GatewayObjects are the objects of the Gateway API.
type GatewayObjects struct {
	Classes    []*GatewayClass
	Gateways   []*Gateway
	Routes     []*HTTPRoute
	Grants     []*ReferenceGrant
	Namespaces map[string]map[string]string // labels by name
}

// GatewayClass is the kind of that name.
type GatewayClass struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		ControllerName string          `json:"controllerName"`
		ParametersRef  json.RawMessage `json:"parametersRef,omitempty"`
	} `json:"spec"`
}

// Gateway is the kind of that name.
type Gateway struct {
	metav1.ObjectMeta
	Class     string
	Listeners []Listener
	Refused   string // why it is not served
}

// Listener is one of a Gateway's.
type Listener struct {
	Name          string          `json:"name"`
	Hostname      string          `json:"hostname,omitempty"`
	Port          int32           `json:"port"`
	Protocol      string          `json:"protocol"`
	TLS           json.RawMessage `json:"tls,omitempty"`
	AllowedRoutes struct {
		Namespaces struct {
			From     string                `json:"from,omitempty"`
			Selector *metav1.LabelSelector `json:"selector,omitempty"`
		} `json:"namespaces,omitempty"`
		Kinds []struct {
			Group *string `json:"group,omitempty"`
			Kind  string  `json:"kind"`
		} `json:"kinds,omitempty"`
	} `json:"allowedRoutes,omitempty"`
}

// HTTPRoute is the kind of that name.
type HTTPRoute struct {
	metav1.ObjectMeta
	Parents   []ParentRef
	Hostnames []string
	Rules     []HTTPRule
	Refused   string // why it is not served
}

// ParentRef names what a route is attached to.
type ParentRef struct {
	Group       *string `json:"group,omitempty"`
	Kind        *string `json:"kind,omitempty"`
	Namespace   *string `json:"namespace,omitempty"`
	Name        string  `json:"name"`
	SectionName *string `json:"sectionName,omitempty"`
	Port        *int32  `json:"port,omitempty"`
}

// HTTPRule is a rule of an HTTPRoute.
type HTTPRule struct {
	Name     *string      `json:"name,omitempty"`
	Matches  []HTTPMatch  `json:"matches,omitempty"`
	Filters  []HTTPFilter `json:"filters,omitempty"`
	Backends []BackendRef `json:"backendRefs,omitempty"`
	Timeouts struct {
		Request        string `json:"request,omitempty"`
		BackendRequest string `json:"backendRequest,omitempty"`
	} `json:"timeouts,omitempty"`
}

// HTTPMatch is what a request must look like.
type HTTPMatch struct {
	Path *struct {
		Type  string `json:"type,omitempty"`
		Value string `json:"value,omitempty"`
	} `json:"path,omitempty"`
	Headers []valueMatch `json:"headers,omitempty"`
	Query   []valueMatch `json:"queryParams,omitempty"`
	Method  string       `json:"method,omitempty"`
}

type valueMatch struct {
	Type  string `json:"type,omitempty"`
	Name  string `json:"name"`
	Value string `json:"value"`
}

// HTTPFilter changes a request or its answer.
type HTTPFilter struct {
	Type            string      `json:"type"`
	RequestHeaders  *headerEdit `json:"requestHeaderModifier,omitempty"`
	ResponseHeaders *headerEdit `json:"responseHeaderModifier,omitempty"`
	Mirror          *struct {
		Backend  BackendRef `json:"backendRef"`
		Percent  *int32     `json:"percent,omitempty"`
		Fraction *struct {
			Numerator   int32  `json:"numerator"`
			Denominator *int32 `json:"denominator,omitempty"`
		} `json:"fraction,omitempty"`
	} `json:"requestMirror,omitempty"`
	Redirect *struct {
		Scheme     string        `json:"scheme,omitempty"`
		Hostname   string        `json:"hostname,omitempty"`
		Path       *pathModifier `json:"path,omitempty"`
		Port       int32         `json:"port,omitempty"`
		StatusCode int           `json:"statusCode,omitempty"`
	} `json:"requestRedirect,omitempty"`
	Rewrite *struct {
		Hostname string        `json:"hostname,omitempty"`
		Path     *pathModifier `json:"path,omitempty"`
	} `json:"urlRewrite,omitempty"`
}

type pathModifier struct {
	Type   string  `json:"type"`
	Full   *string `json:"replaceFullPath,omitempty"`
	Prefix *string `json:"replacePrefixMatch,omitempty"`
}

type headerEdit struct {
	Set    []nameValue `json:"set,omitempty"`
	Add    []nameValue `json:"add,omitempty"`
	Remove []string    `json:"remove,omitempty"`
}

type nameValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// BackendRef names a Service.
type BackendRef struct {
	Group     *string           `json:"group,omitempty"`
	Kind      *string           `json:"kind,omitempty"`
	Name      string            `json:"name"`
	Namespace *string           `json:"namespace,omitempty"`
	Port      *int32            `json:"port,omitempty"`
	Weight    *int32            `json:"weight,omitempty"`
	Filters   []json.RawMessage `json:"filters,omitempty"`
}

// ReferenceGrant lets routes of other namespaces name Services of its own.
type ReferenceGrant struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		From []struct {
			Group     string `json:"group"`
			Kind      string `json:"kind"`
			Namespace string `json:"namespace"`
		} `json:"from"`
		To []struct {
			Group string  `json:"group"`
			Kind  string  `json:"kind"`
			Name  *string `json:"name,omitempty"`
		} `json:"to"`
	} `json:"spec"`
}

// DecodeGateway reads a Gateway from JSON. One with fields that are not served
// is returned with Refused set.
func DecodeGateway(b []byte) (*Gateway, error) {
	var raw struct {
		metav1.ObjectMeta `json:"metadata"`
		Spec              json.RawMessage `json:"spec"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, fmt.Errorf("decode Gateway: %w", err)
	}
	g := &Gateway{ObjectMeta: raw.ObjectMeta}
	var head struct {
		Class string `json:"gatewayClassName"`
	}
	if err := json.Unmarshal(raw.Spec, &head); err != nil {
		return nil, fmt.Errorf("decode Gateway %s/%s: %w", g.Namespace, g.Name, err)
	}
	g.Class = head.Class
	var spec struct {
		Class     string     `json:"gatewayClassName"`
		Listeners []Listener `json:"listeners"`
	}
	if err := strict(raw.Spec, &spec); err != nil {
		g.Refused = "spec: " + err.Error()
		return g, nil //nolint:nilerr // its status says so
	}
	g.Listeners = spec.Listeners
	return g, nil
}

// DecodeHTTPRoute reads an HTTPRoute from JSON. One with fields or values that
// are not served is returned with Refused set.
func DecodeHTTPRoute(b []byte) (*HTTPRoute, error) {
	var raw struct {
		metav1.ObjectMeta `json:"metadata"`
		Spec              json.RawMessage `json:"spec"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, fmt.Errorf("decode HTTPRoute: %w", err)
	}
	r := &HTTPRoute{ObjectMeta: raw.ObjectMeta}
	var head struct {
		Parents []ParentRef `json:"parentRefs"`
	}
	if err := json.Unmarshal(raw.Spec, &head); err != nil {
		return nil, fmt.Errorf("decode HTTPRoute %s/%s: %w", r.Namespace, r.Name, err)
	}
	r.Parents = head.Parents
	var spec struct {
		Parents   json.RawMessage   `json:"parentRefs,omitempty"`
		Hostnames []string          `json:"hostnames,omitempty"`
		Rules     []json.RawMessage `json:"rules,omitempty"`
	}
	if err := strict(raw.Spec, &spec); err != nil {
		r.Refused = "spec: " + err.Error()
		return r, nil //nolint:nilerr // its status says so
	}
	r.Hostnames = spec.Hostnames
	for i, rb := range spec.Rules {
		var rule HTTPRule
		err := strict(rb, &rule)
		if err == nil {
			err = rule.check()
		}
		if err != nil {
			r.Refused = fmt.Sprintf("spec.rules[%d]: %v", i, err)
			return r, nil
		}
		r.Rules = append(r.Rules, rule)
	}
	return r, nil
}

var unknownField = regexp.MustCompile(`^json: unknown field (".*")$`)

// strict decodes what has no fields beyond those of v.
func strict(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		return nil
	}
	if m := unknownField.FindStringSubmatch(err.Error()); m != nil {
		return errors.New("the field " + m[1] + " is not served")
	}
	return err
}

// check says which values of a rule are not served.
func (r HTTPRule) check() error {
	for i, m := range r.Matches {
		if m.Path != nil && m.Path.Type != "" && m.Path.Type != "Exact" && m.Path.Type != "PathPrefix" {
			return fmt.Errorf("matches[%d].path: the type %q is not served", i, m.Path.Type)
		}
		for what, list := range map[string][]valueMatch{"headers": m.Headers, "queryParams": m.Query} {
			for j, v := range list {
				if v.Type != "" && v.Type != "Exact" {
					return fmt.Errorf("matches[%d].%s[%d]: the type %q is not served", i, what, j, v.Type)
				}
			}
		}
	}
	kinds := map[string]bool{}
	for i, f := range r.Filters {
		if err := f.check(); err != nil {
			return fmt.Errorf("filters[%d]: %w", i, err)
		}
		if kinds[f.Type] && f.Type != "RequestMirror" {
			return fmt.Errorf("filters[%d]: a second %s", i, f.Type)
		}
		kinds[f.Type] = true
	}
	if kinds["RequestRedirect"] && (kinds["URLRewrite"] || len(r.Backends) > 0) {
		return errors.New("a RequestRedirect together with a URLRewrite or with backendRefs")
	}
	if r.replacesPrefix() {
		for i, m := range r.Matches {
			if m.Path != nil && m.Path.Type == "Exact" {
				return fmt.Errorf("matches[%d]: replacePrefixMatch needs a path of the type PathPrefix", i)
			}
		}
	}
	for i, b := range r.Backends {
		if len(b.Filters) > 0 {
			return fmt.Errorf("backendRefs[%d]: the field \"filters\" is not served", i)
		}
	}
	for what, d := range map[string]string{"request": r.Timeouts.Request, "backendRequest": r.Timeouts.BackendRequest} {
		if v, err := time.ParseDuration(d); d != "" && (err != nil || v < 0) {
			return fmt.Errorf("timeouts.%s: %q is no duration", what, d)
		}
	}
	return nil
}

func (r HTTPRule) replacesPrefix() bool {
	for _, f := range r.Filters {
		if f.Redirect != nil && f.Redirect.Path != nil && f.Redirect.Path.Prefix != nil ||
			f.Rewrite != nil && f.Rewrite.Path != nil && f.Rewrite.Path.Prefix != nil {
			return true
		}
	}
	return false
}

func (f HTTPFilter) check() error {
	there := false
	var path *pathModifier
	switch f.Type {
	case "RequestHeaderModifier":
		there = f.RequestHeaders != nil
	case "ResponseHeaderModifier":
		there = f.ResponseHeaders != nil
	case "RequestMirror":
		if there = f.Mirror != nil; there {
			if d := f.Mirror.Fraction; d != nil && d.Denominator != nil && *d.Denominator <= 0 {
				return errors.New("fraction: the denominator is not positive")
			}
		}
	case "RequestRedirect":
		if there = f.Redirect != nil; there {
			path = f.Redirect.Path
			switch f.Redirect.StatusCode {
			case 0, http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
			default:
				return fmt.Errorf("the statusCode %d is not served", f.Redirect.StatusCode)
			}
			if s := f.Redirect.Scheme; s != "" && s != "http" && s != "https" {
				return fmt.Errorf("the scheme %q is not served", s)
			}
		}
	case "URLRewrite":
		if there = f.Rewrite != nil; there {
			path = f.Rewrite.Path
		}
	default:
		return fmt.Errorf("the type %q is not served", f.Type)
	}
	if !there {
		return fmt.Errorf("%s has no settings", f.Type)
	}
	if path != nil && !(path.Type == "ReplaceFullPath" && path.Full != nil) && !(path.Type == "ReplacePrefixMatch" && path.Prefix != nil) {
		return fmt.Errorf("path: the type %q is not served, or has no value", path.Type)
	}
	return nil
}
