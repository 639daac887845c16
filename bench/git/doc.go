// Package git compares our Git host with git's http-backend behind Go's plain
// CGI handler, in turns on the same machine: what authorising, ordering and
// recording a push costs.
package git
