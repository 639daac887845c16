package proxy

import (
	"net"
	"net/http"
	"net/textproto"
	"strings"
)

// hopByHop belong to one connection and are not passed on.
var hopByHop = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate",
	"Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// forwarded are headers that only the gateway may set: it is the edge, and what
// a client claims about its address is not passed on.
var forwarded = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Real-Ip"}

// outgoing turns the header of the client's request r, in place, into the one
// for the endpoint. out shares the map: the server is done with it.
func outgoing(out, r *http.Request) {
	h := out.Header
	trailers := wantsTrailers(h)
	dropHopByHop(h)
	if trailers {
		h["Te"] = []string{"trailers"}
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = []string{""} // else the transport would name itself
	}
	setForwarded(h, r)
}

func setForwarded(h http.Header, r *http.Request) {
	for _, k := range forwarded {
		delete(h, k)
	}
	if ip, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		h["X-Forwarded-For"] = []string{ip}
	}
	h["X-Forwarded-Host"] = []string{r.Host}
	h["X-Forwarded-Proto"] = []string{"http"}
}

// incoming copies the header of the endpoint's answer to dst and returns which
// trailers it announces.
func incoming(dst http.Header, res *http.Response) (announced map[string]bool) {
	dropHopByHop(res.Header)
	for k, v := range res.Header {
		dst[k] = v
	}
	if _, ok := dst["Content-Type"]; !ok {
		dst["Content-Type"] = nil // else the server would guess one
	}
	if len(res.Trailer) > 0 {
		announced = make(map[string]bool, len(res.Trailer))
		names := make([]string, 0, len(res.Trailer))
		for k := range res.Trailer {
			announced[k] = true
			names = append(names, k)
		}
		dst["Trailer"] = []string{strings.Join(names, ", ")}
	}
	return announced
}

// dropHopByHop removes the headers of one connection, those listed in
// Connection among them.
func dropHopByHop(h http.Header) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = textproto.TrimString(name); name != "" {
				h.Del(name)
			}
		}
	}
	for _, k := range hopByHop {
		delete(h, k)
	}
}

func wantsTrailers(h http.Header) bool {
	for _, line := range h["Te"] {
		for token := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(textproto.TrimString(token), "trailers") {
				return true
			}
		}
	}
	return false
}

// isUpgrade says whether an HTTP/1.1 client asks to switch protocols. An offer
// of h2c is not taken up, which is what the protocol lets a server do.
func isUpgrade(r *http.Request) bool {
	if r.ProtoMajor != 1 || r.Header["Upgrade"] == nil || strings.EqualFold(r.Header.Get("Upgrade"), "h2c") {
		return false
	}
	for _, line := range r.Header["Connection"] {
		for token := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(textproto.TrimString(token), "upgrade") {
				return true
			}
		}
	}
	return false
}
