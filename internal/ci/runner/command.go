package runner

import (
	"strings"
)

// command is a workflow command: a line by which a step speaks to the runner.
type command struct {
	name  string
	props map[string]string
	data  string
}

// commandNames are the commands that exist.
var commandNames = map[string]bool{
	"set-output": true, "save-state": true, "set-env": true, "add-path": true, "add-mask": true,
	"add-matcher": true, "remove-matcher": true, "debug": true, "notice": true, "warning": true, "error": true,
	"group": true, "endgroup": true, "echo": true, "stop-commands": true, "internal-set-repo-path": true,
}

var (
	unescapeData  = strings.NewReplacer("%0D", "\r", "%0A", "\n", "%25", "%")
	unescapeProp  = strings.NewReplacer("%0D", "\r", "%0A", "\n", "%3A", ":", "%2C", ",", "%25", "%")
	unescapeV1    = strings.NewReplacer("%3B", ";", "%0D", "\r", "%0A", "\n", "%5D", "]", "%25", "%")
	commandV2Mark = "::"
	commandV1Mark = "##["
)

// parseCommand finds the command in a line of output. extra is a further name
// that counts as one: the token that ends stop-commands.
func parseCommand(line, extra string) (command, bool) {
	known := func(name string) bool {
		return commandNames[name] || extra != "" && strings.EqualFold(name, extra)
	}
	if c, ok := parseV2(line); ok && known(c.name) {
		return c, true
	}
	if c, ok := parseV1(line); ok && known(c.name) {
		return c, true
	}
	return command{}, false
}

// parseV2 reads "::name key=value,key=value::data".
func parseV2(line string) (command, bool) {
	rest, ok := strings.CutPrefix(strings.TrimLeft(line, " \t"), commandV2Mark)
	if !ok {
		return command{}, false
	}
	head, data, ok := strings.Cut(rest, commandV2Mark)
	if !ok {
		return command{}, false
	}
	name, props, _ := strings.Cut(head, " ")
	return command{name, parseProps(props, ",", unescapeProp), unescapeData.Replace(data)}, true
}

// parseV1 reads "##[name key=value;key=value]data" anywhere in the line.
func parseV1(line string) (command, bool) {
	_, rest, ok := strings.Cut(line, commandV1Mark)
	if !ok {
		return command{}, false
	}
	head, data, ok := strings.Cut(rest, "]")
	if !ok {
		return command{}, false
	}
	name, props, _ := strings.Cut(head, " ")
	return command{name, parseProps(props, ";", unescapeV1), unescapeV1.Replace(data)}, true
}

func parseProps(s, separator string, unescape *strings.Replacer) map[string]string {
	props := map[string]string{}
	for _, kv := range strings.Split(strings.TrimSpace(s), separator) {
		if k, v, ok := strings.Cut(kv, "="); ok && strings.TrimSpace(k) != "" && v != "" {
			props[strings.ToLower(strings.TrimSpace(k))] = unescape.Replace(v)
		}
	}
	return props
}
