package render

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// commandName is the hidden command that a [Pool] starts of its own program.
const commandName = "render-worker"

// WorkerCommand returns the hidden command that renders on standard input and
// output.
func WorkerCommand() *cobra.Command {
	var base string
	var memory uint64
	c := &cobra.Command{
		Use:    commandName,
		Short:  "Render manifests for the server (internal)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return work(base, memory, c.InOrStdin(), c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&base, "base", "", "`directory` of the checkouts")
	c.Flags().Uint64Var(&memory, "memory", 0, "limit of memory in `bytes`")
	_ = c.MarkFlagRequired("base")
	return c
}

// work confines the process to base, then serves requests until in ends.
func work(base string, memory uint64, in io.Reader, out io.Writer) error {
	base, err := filepath.Abs(base)
	if err != nil {
		return err
	}
	if base, err = confine(base, memory); err != nil {
		return fmt.Errorf("confine the render worker: %w", err)
	}
	for {
		b, err := readFrame(in, maxRequestBytes)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		var req Request
		if err := json.Unmarshal(b, &req); err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		resp := answer(base, req)
		err = writeFrame(out, resp, maxResponseBytes)
		if err != nil {
			return fmt.Errorf("write a response: %w", err)
		}
	}
}

// answer renders one request. A panic of a library is the manifests' fault,
// and the worker's last answer is still an answer.
func answer(base string, req Request) (resp response) {
	defer func() {
		if p := recover(); p != nil {
			resp = response{Error: fmt.Sprintf("rendering stopped: %v", p)}
		}
	}()
	root, err := os.OpenRoot(filepath.Join(base, filepath.FromSlash(req.Checkout)))
	if err != nil {
		return response{Error: fmt.Sprintf("open the checkout: %v", err)}
	}
	defer root.Close()
	res, err := Render(root, req.Source)
	if err != nil {
		return response{Error: strings.TrimSpace(err.Error())}
	}
	resp.Type = res.Type
	for _, o := range res.Objects {
		resp.Objects = append(resp.Objects, o.Object)
	}
	return resp
}
