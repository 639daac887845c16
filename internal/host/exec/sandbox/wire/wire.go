//go:build linux

// Package wire is the language between the sandbox runtime on the host and the
// agent, the first process inside a sandbox. They speak over one SEQPACKET
// socket: one small JSON message per packet, file descriptors beside it.
//
// What comes from the agent is input from inside the sandbox: the host bounds
// it and believes only what concerns the session itself.
package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// AgentPath is where the agent is inside a sandbox. A program that contains
// package agent and is started under this name is the agent.
const AgentPath = "/run/penstock/agent"

// AgentThreads is how many threads the agent makes at its start. They count
// among the sandbox's processes; its limit is that much higher.
const AgentThreads = 8

// ControlFD is the descriptor on which the agent finds the socket.
const ControlFD = 3

// MaxMessage bounds a packet. Whatever may be longer travels as a file.
const MaxMessage = 4 << 10

// Operations.
const (
	Start  = "start"  // to the agent; files: spec, stdin, stdout, stderr, control group
	Signal = "signal" // to the agent
	Ready  = "ready"  // from the agent, once
	Begun  = "begun"  // from the agent: the command runs
	Failed = "failed" // from the agent: the command could not be started, Error says why
	Exited = "exited" // from the agent: Code is the exit code, 128+n after signal n
)

// StartFiles is how many files go with a Start.
const StartFiles = 5

// Message is one packet.
type Message struct {
	Op    string `json:"op"`
	ID    uint64 `json:"id,omitempty"`
	Code  int    `json:"code,omitempty"`
	Error string `json:"error,omitempty"`
	// NotFound says that Error is about a program that does not exist.
	NotFound bool `json:"notFound,omitempty"`
}

// Spec is the content of a Start's first file.
type Spec struct {
	Args []string `json:"args"`
	Env  []string `json:"env"`
	Dir  string   `json:"dir"`
	// Who runs it: root unless said otherwise.
	UID    uint32   `json:"uid,omitempty"`
	GID    uint32   `json:"gid,omitempty"`
	Groups []uint32 `json:"groups,omitempty"`
}

// Send writes m and the files beside it.
func Send(c *net.UnixConn, m Message, files ...int) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(data) > MaxMessage {
		return fmt.Errorf("message of %d bytes is longer than %d", len(data), MaxMessage)
	}
	var oob []byte
	if len(files) > 0 {
		oob = syscall.UnixRights(files...)
	}
	_, _, err = c.WriteMsgUnix(data, oob, nil)
	return err
}

// Receive reads one message and the files beside it, which the caller closes.
// io.EOF means that the other side is gone.
func Receive(c *net.UnixConn) (m Message, files []*os.File, err error) {
	data := make([]byte, MaxMessage+1)
	oob := make([]byte, syscall.CmsgSpace(4*StartFiles))
	n, oobn, flags, _, err := c.ReadMsgUnix(data, oob)
	if err != nil {
		return Message{}, nil, err
	}
	files, err = received(oob[:oobn])
	if err == nil && (n > MaxMessage || flags&(syscall.MSG_TRUNC|syscall.MSG_CTRUNC) != 0) {
		err = errors.New("message is too long")
	}
	if err == nil {
		m, err = parse(data[:n])
	}
	if err != nil {
		for _, f := range files {
			f.Close()
		}
		return Message{}, nil, err
	}
	return m, files, nil
}

func parse(data []byte) (Message, error) {
	var m Message
	if err := json.Unmarshal(data, &m); err != nil {
		return Message{}, fmt.Errorf("read message: %w", err)
	}
	return m, nil
}

func received(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	msgs, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("read files of message: %w", err)
	}
	var files []*os.File
	for i := range msgs {
		fds, err := syscall.ParseUnixRights(&msgs[i])
		if err != nil {
			continue // not descriptors
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}
