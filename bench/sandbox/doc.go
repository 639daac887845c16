// Package sandbox measures what running a command costs beyond the command:
// opening and closing an empty session, and one command in an open session,
// in each runtime, beside plain os/exec in the same run.
//
//	go test -tags bench -run '^$' -bench . ./bench/sandbox
//
// cpu-ms/op is what this process and the programs it waited for used; budgets
// are judged by it or at idle load, never by the wall clock of a busy machine.
package sandbox
