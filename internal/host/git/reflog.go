package git

import (
	"bytes"
	"io"
	"os"
	"path/filepath"

	"github.com/penstock-dev/penstock/internal/base/event"
)

// unknownActor stands for who has moved a ref without leaving a name: it is
// gone with its log, or was moved by hand.
const unknownActor = "unknown"

// byActor divides updates by who has made them, as the reflogs have it, in
// order of first appearance. It serves pushes whose handler did not live to
// record them; who pushed decides, for one, whether CI runs.
func (s *Server) byActor(name string, updates []event.RefUpdate) []push {
	var pushes []push
	at := map[string]int{}
	for _, u := range updates {
		actor := lastActor(filepath.Join(s.dir(name), "logs", filepath.FromSlash(u.Ref)), u.After)
		i, ok := at[actor]
		if !ok {
			i = len(pushes)
			at[actor] = i
			pushes = append(pushes, push{actor: actor})
		}
		pushes[i].updates = append(pushes[i].updates, u)
	}
	return pushes
}

// lastActor reads who made the last entry of a reflog, if that led to hash.
func lastActor(path, hash string) string {
	f, err := os.Open(path)
	if err != nil {
		return unknownActor
	}
	defer f.Close()
	const most = 8 << 10 // more than a line that http-backend causes
	if fi, err := f.Stat(); err == nil && fi.Size() > most {
		if _, err := f.Seek(-most, io.SeekEnd); err != nil {
			return unknownActor
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return unknownActor
	}
	lines := bytes.Split(bytes.TrimRight(b, "\n"), []byte("\n"))
	return parseReflog(lines[len(lines)-1], hash)
}

// parseReflog reads "OLD NEW name <mail> time zone\tmessage". The mail is the
// one that http-backend makes up: nobody else is believed.
func parseReflog(line []byte, hash string) string {
	entry, _, _ := bytes.Cut(line, []byte("\t"))
	f := bytes.SplitN(entry, []byte(" "), 3)
	if len(f) != 3 || string(f[1]) != hash {
		return unknownActor
	}
	name, rest, ok := bytes.Cut(f[2], []byte(" <"))
	mail, _, ok2 := bytes.Cut(rest, []byte(">"))
	if !ok || !ok2 || string(mail) != string(name)+"@http."+remoteAddr || len(name) == 0 {
		return unknownActor
	}
	return string(name)
}
