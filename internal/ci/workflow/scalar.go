package workflow

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/penstock-dev/penstock/internal/ci/expr"
)

var (
	intPattern   = regexp.MustCompile(`^[-+]?[0-9]+$`)
	floatPattern = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
)

// scalar resolves a scalar node by the core schema of YAML 1.2 (the reader's
// own rules are those of 1.1: 010, yes, timestamps).
func scalar(n *yaml.Node) expr.Value {
	if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return n.Value
	}
	switch n.Value {
	case "", "~", "null", "Null", "NULL":
		return nil
	case "true", "True", "TRUE":
		return true
	case "false", "False", "FALSE":
		return false
	case ".nan", ".NaN", ".NAN":
		return math.NaN()
	case ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF":
		return math.Inf(1)
	case "-.inf", "-.Inf", "-.INF":
		return math.Inf(-1)
	}
	for prefix, base := range map[string]int{"0x": 16, "0o": 8} {
		if digits, ok := strings.CutPrefix(n.Value, prefix); ok {
			if u, err := strconv.ParseUint(digits, base, 64); err == nil {
				return float64(u)
			}
		}
	}
	if intPattern.MatchString(n.Value) || floatPattern.MatchString(n.Value) {
		f, _ := strconv.ParseFloat(n.Value, 64) // out of range is an infinity
		return f
	}
	return n.Value
}
