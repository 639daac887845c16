package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/penstock-dev/penstock/internal/base/id"
	"github.com/penstock-dev/penstock/internal/base/problem"
)

// Page is one piece of a list, in every list of the API.
type Page[T any] struct {
	Items []T    `json:"items" nullable:"false"`
	Next  string `json:"next,omitempty" doc:"cursor of the next piece; there is none when it is left out"`
}

// Paging is what every list is asked with.
type Paging struct {
	Limit  int    `query:"limit" default:"50" minimum:"1" maximum:"500" doc:"how many items at most; a piece may be shorter and still have a next one"`
	Cursor string `query:"cursor" maxLength:"1000" doc:"next of the piece before, with the same filters and sort"`
}

// maxCursor bounds a cursor before it is decoded.
const maxCursor = 1000

// cursor says where a list goes on. It holds nothing secret and is trusted for
// nothing: it only chooses among what the caller may see anyway.
type cursor struct {
	List string `json:"l"` // of which list, with which filters and sort
	Key  string `json:"k"` // of the last item that was given
}

func (c cursor) String() string {
	b, err := json.Marshal(c)
	if err != nil {
		return "" // two strings can always be encoded
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// listID names a list with its filters and sort.
func listID(parts ...string) string { return id.Of(parts...)[:16] }

// after returns the key after which the list called list goes on, "" for its
// beginning.
func (p Paging) after(list string) (string, error) {
	if p.Cursor == "" {
		return "", nil
	}
	c, err := parseCursor(p.Cursor)
	if err != nil {
		return "", err
	}
	if c.List != list {
		return "", fmt.Errorf("the cursor is of a list with other filters or another sort: %w", problem.ErrInvalid)
	}
	return c.Key, nil
}

func parseCursor(s string) (cursor, error) {
	bad := fmt.Errorf("the cursor is not one that this server gave: %w", problem.ErrInvalid)
	var c cursor
	if len(s) > maxCursor {
		return c, bad
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || !utf8.Valid(b) || json.Unmarshal(b, &c) != nil || c.List == "" || c.Key == "" || c.String() != s {
		return cursor{}, bad
	}
	return c, nil
}

// pageOf cuts a piece out of a list that is in memory. key gives what the list
// is sorted by, different for each item; descending turns the order around.
func pageOf[T any](all []T, p Paging, list string, descending bool, key func(T) string) (Page[T], error) {
	after, err := p.after(list)
	if err != nil {
		return Page[T]{}, err
	}
	order := func(a, b string) int {
		if descending {
			a, b = b, a
		}
		return strings.Compare(a, b)
	}
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b T) int { return order(key(a), key(b)) })
	if after != "" {
		i, found := slices.BinarySearchFunc(all, after, func(item T, k string) int { return order(key(item), k) })
		if found {
			i++
		}
		all = all[i:]
	}
	out := Page[T]{Items: all}
	if len(all) > p.Limit {
		out.Items = all[:p.Limit]
		out.Next = cursor{list, key(out.Items[p.Limit-1])}.String()
	}
	if out.Items == nil {
		out.Items = []T{}
	}
	return out, nil
}
