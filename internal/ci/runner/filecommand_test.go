package runner

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseAssignments(t *testing.T) {
	type list = []assignment
	for _, tc := range []struct {
		name, in string
		want     list
		err      string
	}{
		{"empty", "", nil, ""},
		{"simple", "A=b\n", list{{"A", "b"}}, ""},
		{"no newline at the end", "A=b", list{{"A", "b"}}, ""},
		{"empty lines", "\nA=b\n\n\nC=d\n", list{{"A", "b"}, {"C", "d"}}, ""},
		{"empty value", "A=\n", list{{"A", ""}}, ""},
		{"first equals", "A=b=c\n", list{{"A", "b=c"}}, ""},
		{"value with heredoc mark", "A=b<<c\n", list{{"A", "b<<c"}}, ""},
		{"blanks are kept", " A = b \n", list{{" A ", " b "}}, ""},
		{"CR is content here", "A=b\r\n", list{{"A", "b\r"}}, ""},
		{"heredoc", "A<<EOF\none\ntwo\nEOF\nB=c\n", list{{"A", "one\ntwo"}, {"B", "c"}}, ""},
		{"heredoc keeps inner newlines", "A<<EOF\n\n one\n\nEOF\n", list{{"A", "\n one\n"}}, ""},
		{"heredoc of nothing", "A<<EOF\nEOF\n", list{{"A", ""}}, ""},
		{"heredoc with equals after", "A<<E=F\nx\nE=F\n", list{{"A", "x"}}, ""},
		{"heredoc ended by EOF", "A<<EOF\nx\nEOF", list{{"A", "x"}}, ""},
		{"heredoc with a line like an assignment", "A<<EOF\nB=c\nEOF\n", list{{"A", "B=c"}}, ""},
		{"delimiter must be the whole line", "A<<EOF\n EOF\nEOF\n", list{{"A", " EOF"}}, ""},
		{"no delimiter", "A<<EOF\nx\n", nil, "Matching delimiter not found 'EOF'"},
		{"value line at EOF", "A<<EOF\nx", nil, "EOF"},
		{"nothing recognisable", "A b\n", nil, "Invalid format 'A b'"},
		{"no name", "=b\n", nil, "Invalid format '=b'"},
		{"heredoc without name", "<<EOF\nx\nEOF\n", nil, "Invalid format '<<EOF'"},
		{"heredoc without delimiter", "A<<\nx\n", nil, "Invalid format 'A<<'"},
		{"what came before an error counts", "A=b\nxx\n", list{{"A", "b"}}, "Invalid format 'xx'"},
	} {
		got, err := parseAssignments(tc.in)
		if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("%s: error %v, want %q", tc.name, err, tc.err)
		}
		if d := cmp.Diff(tc.want, got, cmp.AllowUnexported(assignment{})); d != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, d)
		}
	}
}

func FuzzParseAssignments(f *testing.F) {
	f.Add("A=b\nC<<X\ny\nX\n")
	f.Fuzz(func(t *testing.T, s string) {
		got, _ := parseAssignments(s)
		for _, a := range got {
			if a.name == "" {
				t.Errorf("%q gives an empty name", s)
			}
		}
	})
}

func TestParseCommand(t *testing.T) {
	for _, tc := range []struct {
		in    string
		extra string
		want  command
		ok    bool
	}{
		{"::set-output name=a::b", "", command{"set-output", map[string]string{"name": "a"}, "b"}, true},
		{"  ::warning file=a.go,line=1,title=x=y::text", "", command{"warning", map[string]string{"file": "a.go", "line": "1", "title": "x=y"}, "text"}, true},
		{"::error::100%25 %0A%250A", "", command{"error", map[string]string{}, "100% \n%0A"}, true},
		{"::error title=a%3Ab%2Cc::x", "", command{"error", map[string]string{"title": "a:b,c"}, "x"}, true},
		{"::group::a::b", "", command{"group", map[string]string{}, "a::b"}, true},
		{"text ::error::x", "", command{}, false},
		{"::nonsense::x", "", command{}, false},
		{"::tok::", "tok", command{"tok", map[string]string{}, ""}, true},
		{"::TOK::", "tok", command{"TOK", map[string]string{}, ""}, true},
		{"::error", "", command{}, false},
		{"##[error]x", "", command{"error", map[string]string{}, "x"}, true},
		{"before ##[set-output name=a;x=%3B]b%5D", "", command{"set-output", map[string]string{"name": "a", "x": ";"}, "b]"}, true},
		{"##[nonsense]x", "", command{}, false},
	} {
		got, ok := parseCommand(tc.in, tc.extra)
		if ok != tc.ok {
			t.Errorf("%q: %v", tc.in, ok)
		}
		if d := cmp.Diff(tc.want, got, cmp.AllowUnexported(command{})); d != "" {
			t.Errorf("%q (-want +got):\n%s", tc.in, d)
		}
	}
}

func FuzzParseCommand(f *testing.F) {
	f.Add("::a b=c,d=e::f")
	f.Add("##[a b=c;d]e")
	f.Fuzz(func(_ *testing.T, s string) { parseCommand(s, "x") })
}
