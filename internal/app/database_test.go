package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-dev/penstock/internal/base/problem"
)

func TestFindDatabase(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const secret = "postgres://u:hunter2@db/penstock"
	good := write("good", secret+"\n")
	for name, tc := range map[string]struct {
		flag, file, env, fileEnv string
		want, err                string
	}{
		"nothing":                    {want: filepath.Join(dir, "store.sqlite")},
		"flag":                       {flag: "postgresql://u@db/x?sslmode=disable", want: "postgresql://u@db/x?sslmode=disable"},
		"flag before environment":    {flag: "postgres://db/x", env: secret, want: "postgres://db/x"},
		"file":                       {file: good, want: secret},
		"environment":                {env: secret, want: secret},
		"file of the environment":    {fileEnv: good, want: secret},
		"password in a flag":         {flag: secret, err: "--database: has a password"},
		"password in a flag's query": {flag: "postgres://db/x?password=hunter2", err: "--database: has a password"},
		"two flags":                  {flag: "postgres://db/x", file: good, err: "are both given"},
		"another database":           {env: "mysql://u:hunter2@db/x", err: "PENSTOCK_DATABASE: is no URL of a PostgreSQL database"},
		"a path":                     {flag: "/var/lib/x.sqlite", err: "is no URL of a PostgreSQL database"},
		"no file":                    {file: filepath.Join(dir, "absent"), err: "no such file"},
		"an empty file":              {file: write("empty", ""), err: "does not hold the URL"},
		"two lines":                  {file: write("two", secret+"\n"+secret), err: "does not hold the URL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(databaseEnv, tc.env)
			t.Setenv(databaseFileEnv, tc.fileEnv)
			got, err := findDatabase(dir, tc.flag, tc.file)
			if tc.err == "" {
				if err != nil || got != tc.want {
					t.Errorf("%q, %v; want %q", got, err, tc.want)
				}
			} else if err == nil || !strings.Contains(err.Error(), tc.err) || problem.ExitCode(err) != problem.ExitUsage {
				t.Errorf("%q, %v; want an error that says %q", got, err, tc.err)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the password is in %v", err)
			}
			for _, name := range []string{databaseEnv, databaseFileEnv} {
				if v, set := os.LookupEnv(name); set {
					t.Errorf("%s is still set: %q", name, v)
				}
			}
		})
	}
}
