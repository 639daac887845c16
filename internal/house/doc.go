// Package house holds the tests that keep the tree in order: who may import
// whom, a comment on every package, files of a readable size, no surprises in
// go.mod. It has no code of its own.
package house
