package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/penstock-dev/penstock/internal/base/atomicfile"
	"github.com/penstock-dev/penstock/internal/host/gateway/route"
)

// maxTableBytes bounds a saved table: about 200,000 Services.
const maxTableBytes = 64 << 20

// loadTable reads the table saved last and when that was.
func loadTable(path, domain string) (*route.Table, time.Time, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, time.Time{}, err
	}
	t := new(route.Table)
	if err := json.NewDecoder(io.LimitReader(f, maxTableBytes)).Decode(t); err != nil {
		return nil, time.Time{}, fmt.Errorf("decode saved routes: %w", err)
	}
	if err := t.Check(domain); err != nil {
		return nil, time.Time{}, fmt.Errorf("check saved routes: %w", err)
	}
	return t, info.ModTime(), nil
}

// saveTable makes t the table that a restarted gateway begins with.
func saveTable(path string, t *route.Table) error {
	b, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("encode routes: %w", err)
	}
	if err := atomicfile.Write(path, b, 0o600); err != nil {
		return fmt.Errorf("save routes: %w", err)
	}
	return nil
}
