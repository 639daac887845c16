package machine

import (
	"encoding/json"
	"io"
	"os"
	"strings"
)

// tailSize is how much of a log's end is looked at.
const tailSize = 32 << 10

// lastError returns the most telling of the last lines of a log: the last one
// that speaks of an error, else the last one. Lines of structured logs are
// reduced to message and error.
func lastError(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil && fi.Size() > tailSize {
		if _, err := f.Seek(-tailSize, io.SeekEnd); err != nil {
			return ""
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, tailSize))
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.Contains(strings.ToLower(lines[i]), "error") {
			return readable(lines[i])
		}
	}
	return readable(lines[len(lines)-1])
}

func readable(line string) string {
	var l struct {
		Msg   string `json:"msg"`
		Error string `json:"error"`
		Err   string `json:"err"`
	}
	if json.Unmarshal([]byte(line), &l) != nil || l.Msg == "" {
		return strings.TrimPrefix(line, "error: ")
	}
	if l.Error == "" {
		l.Error = l.Err
	}
	if l.Error == "" {
		return l.Msg
	}
	return l.Msg + ": " + l.Error
}
