// Package image finds images wherever they are and keeps them unpacked: in
// this machine's registry and under the aliases it has for others' names, in
// any other registry, in an OCI layout or a docker archive. Layers are kept
// once, by the digest of their content, however many images and sessions use
// them.
package image
