// Package container runs commands over an image: its layers are the root file
// system, its environment and user are the commands'. In everything else
// (network, limits, what holds a job) a session is a sandbox, see package
// sandbox and docs/exec.md.
package container
