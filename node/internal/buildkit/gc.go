//go:build linux

package buildkit

import (
	"time"

	"github.com/moby/buildkit/client"
	"golang.org/x/sys/unix"
)

// gcPolicy bounds the cache: first what is cheap to make again and old, then
// what nobody used for long, then anything over the limit. limit is cut to a
// quarter of the file system; a tenth of it always stays free.
func gcPolicy(limit, fileSystem int64) []client.PruneInfo {
	var free int64
	if fileSystem > 0 {
		limit = min(limit, fileSystem/4)
		free = fileSystem / 10
	}
	reserved := limit / 10
	return []client.PruneInfo{
		{
			Filter:       []string{"type==source.local", "type==exec.cachemount", "type==source.git.checkout"},
			KeepDuration: 48 * time.Hour,
			MaxUsedSpace: limit / 4,
		},
		{KeepDuration: 60 * 24 * time.Hour, ReservedSpace: reserved, MaxUsedSpace: limit, MinFreeSpace: free},
		{ReservedSpace: reserved, MaxUsedSpace: limit, MinFreeSpace: free},
		{All: true, ReservedSpace: reserved, MaxUsedSpace: limit, MinFreeSpace: free},
	}
}

// fileSystemSize returns the size of the file system that holds dir, 0 when
// it cannot be told.
func fileSystemSize(dir string) int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0
	}
	return int64(st.Blocks) * st.Bsize
}
