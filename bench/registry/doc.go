// Package registry measures pushes to and pulls from the image registry, beside
// Debian's docker-registry in the same run: large blobs in megabytes per
// second, and a small image from its first request to its last.
package registry
