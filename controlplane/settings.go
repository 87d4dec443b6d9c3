package main

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
)

// settings say where the control plane lives and where it listens. Everything in dataDir belongs to it:
//
//	pki/   read: ca.crt ca.key apiserver.crt apiserver.key kubelet-client.crt kubelet-client.key
//	       service-account.key controller-manager.kubeconfig scheduler.kubeconfig
//	etcd/  written: the database
//	run/   written: the unix sockets between etcd and kube-apiserver
type settings struct {
	dataDir          string
	bindAddress      string
	port             int
	serviceCIDR      string
	untilStdinCloses bool

	apiserverArgs         []string
	controllerManagerArgs []string
	schedulerArgs         []string
}

func parseSettings(args []string) (settings, error) {
	var s settings
	flags := pflag.NewFlagSet("fita-controlplane", pflag.ContinueOnError)
	flags.StringVar(&s.dataDir, "data-dir", "", "folder with pki/; etcd/ and run/ are made in it (required)")
	flags.StringVar(&s.bindAddress, "bind-address", "127.0.0.1", "address the API server listens on")
	flags.IntVar(&s.port, "port", 6443, "port the API server listens on")
	flags.StringVar(&s.serviceCIDR, "service-cidr", "10.96.0.0/16", "range of the Services' cluster addresses")
	flags.BoolVar(&s.untilStdinCloses, "until-stdin-closes", false, "stop when standard input ends, so that the process never outlives its parent")
	flags.StringArrayVar(&s.apiserverArgs, "apiserver-arg", nil, "one more kube-apiserver flag, like --event-ttl=10m (repeatable)")
	flags.StringArrayVar(&s.controllerManagerArgs, "controller-manager-arg", nil, "one more kube-controller-manager flag (repeatable)")
	flags.StringArrayVar(&s.schedulerArgs, "scheduler-arg", nil, "one more kube-scheduler flag (repeatable)")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("%q is not a flag", flags.Arg(0))
	}
	return s, s.validate()
}

func (s *settings) validate() error {
	if s.dataDir == "" {
		return fmt.Errorf("--data-dir is required")
	}
	if s.port < 1 || s.port > 65535 {
		return fmt.Errorf("--port %d is not between 1 and 65535", s.port)
	}
	if _, err := netip.ParseAddr(s.bindAddress); err != nil {
		return fmt.Errorf("--bind-address: %w", err)
	}
	var err error
	s.dataDir, err = filepath.Abs(s.dataDir)
	return err
}

// enterRunDir makes the private folder of the sockets the working directory: etcd's socket addresses are file
// names in it, and a path from the root could be longer than a socket address may be.
func (s settings) enterRunDir() error {
	if err := os.MkdirAll(s.runDir(), 0o700); err != nil {
		return err
	}
	if err := os.Chmod(s.runDir(), 0o700); err != nil {
		return err
	}
	return os.Chdir(s.runDir())
}

func (s settings) runDir() string {
	return filepath.Join(s.dataDir, "run")
}

func (s settings) pki(name string) string {
	return filepath.Join(s.dataDir, "pki", name)
}

// waitForEnd returns when r has ended; what it carries is dropped.
func waitForEnd(r io.Reader) {
	_, _ = io.Copy(io.Discard, r)
}
