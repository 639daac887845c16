package store

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"unicode/utf8"
)

// What rooms write so that both databases understand it:
//
//   - Arguments are `?`. A migration declares columns as INTEGER (64 bits),
//     TEXT, BLOB or REAL, tables as STRICT, and automatic keys as INTEGER
//     PRIMARY KEY AUTOINCREMENT. Text is ordered by its bytes.
//   - Booleans are INTEGER 0 and 1, times are text, see [FormatTime].
//   - A new key is asked for with RETURNING. Keys ascend, with gaps.
//   - ON CONFLICT (...) DO NOTHING and DO UPDATE work, INSERT OR ... does not.
//     Neither do rowid, LIKE on letters of any case, or "offset" without the
//     quotes.
//   - An argument that is only compared with a number, as in `? = 0`, has 32
//     bits: do that in Go.

// maxArgs is how many arguments a statement can have in both databases.
const maxArgs = 32766

// portable gives arguments that both databases store and compare alike, or
// refuses them. Text is made valid UTF-8 without NUL, which PostgreSQL cannot
// hold: what is not becomes U+FFFD.
func portable(args []any) ([]any, error) {
	if len(args) > maxArgs {
		return nil, fmt.Errorf("%d arguments to one statement, the limit is %d", len(args), maxArgs)
	}
	out := make([]any, len(args))
	for i, a := range args {
		v := reflect.ValueOf(a)
		switch v.Kind() {
		case reflect.Invalid:
		case reflect.Bool:
			n := int64(0)
			if v.Bool() {
				n = 1
			}
			out[i] = n
		case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
			out[i] = v.Int()
		case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
			if v.Uint() > math.MaxInt64 {
				return nil, fmt.Errorf("argument %d is %d, which is larger than a column holds", i+1, v.Uint())
			}
			out[i] = int64(v.Uint())
		case reflect.Float32, reflect.Float64:
			out[i] = v.Float()
		case reflect.String:
			out[i] = text(v.String())
		default:
			b, ok := a.([]byte)
			if !ok {
				return nil, fmt.Errorf("argument %d is a %T, which is not stored", i+1, a)
			}
			out[i] = b
		}
	}
	return out, nil
}

// text returns s as both databases can hold it.
func text(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
