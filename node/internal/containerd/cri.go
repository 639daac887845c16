package containerd

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// CRI is a connection to the runtime interface.
type CRI struct {
	conn *grpc.ClientConn
	runtime.RuntimeServiceClient
	runtime.ImageServiceClient
}

// DialCRI connects to the runtime interface at socket.
func DialCRI(socket string) (*CRI, error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)))
	if err != nil {
		return nil, fmt.Errorf("connect to containerd: %w", err)
	}
	return &CRI{conn, runtime.NewRuntimeServiceClient(conn), runtime.NewImageServiceClient(conn)}, nil
}

// Close ends the connection.
func (c *CRI) Close() error { return c.conn.Close() }

// cri asks the runtime interface for its version.
func cri(ctx context.Context, socket string) error {
	c, err := DialCRI(socket)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Version(ctx, &runtime.VersionRequest{})
	return err
}
