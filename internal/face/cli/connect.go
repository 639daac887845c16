package cli

import "github.com/penstock-dev/penstock/internal/face/client"

// Client returns the API client for the chosen server.
func (g *Globals) Client() (*client.Client, error) { return client.New(g.Server, g.DataDir) }
