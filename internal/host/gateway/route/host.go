package route

import (
	"net"
	"strings"
)

// ParseHost gives the host of a Host header in the form that tables use: lower
// case, without port and trailing dot. ok is false for what cannot be the name
// of a host.
func ParseHost(header string) (host string, ok bool) {
	host = header
	if strings.HasPrefix(host, "[") { // an IPv6 literal, with or without a port
		end := strings.IndexByte(host, ']')
		if end < 0 || net.ParseIP(host[1:end]) == nil || !validPort(host[end+1:]) {
			return "", false
		}
		return strings.ToLower(host[1:end]), true
	}
	if i := strings.IndexByte(host, ':'); i >= 0 {
		if !validPort(host[i:]) {
			return "", false
		}
		host = host[:i]
	}
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > 253 {
		return "", false
	}
	label, upper := 0, false
	for i := range len(host) {
		switch c := host[i]; {
		case c == '.':
			if label == 0 {
				return "", false
			}
			label = 0
			continue
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		case 'A' <= c && c <= 'Z':
			upper = true
		default:
			return "", false
		}
		if label++; label > 63 {
			return "", false
		}
	}
	if upper {
		host = strings.ToLower(host)
	}
	return host, true
}

// validPort accepts nothing or ":" and up to five digits.
func validPort(s string) bool {
	if s == "" {
		return true
	}
	if s[0] != ':' || len(s) > 6 {
		return false
	}
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
