// Package settings reads the program's flags and derives those of the components from them.
package settings

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
)

// Settings say where the control plane lives and where it listens. Everything in DataDir belongs to it:
//
//	pki/   read: ca.crt ca.key apiserver.crt apiserver.key kubelet-client.crt kubelet-client.key
//	       service-account.key controller-manager.kubeconfig scheduler.kubeconfig
//	etcd/  written: the database
//	run/   written: the unix sockets between etcd and kube-apiserver
type Settings struct {
	DataDir          string
	BindAddress      string
	Port             int
	ServiceCIDR      string
	UntilStdinCloses bool

	APIServerArgs         []string
	ControllerManagerArgs []string
	SchedulerArgs         []string
}

// Parse reads the command line. The error is pflag.ErrHelp when help was asked for and given.
func Parse(args []string) (Settings, error) {
	var s Settings
	flags := pflag.NewFlagSet("fita-controlplane", pflag.ContinueOnError)
	flags.StringVar(&s.DataDir, "data-dir", "", "folder with pki/; etcd/ and run/ are made in it (required)")
	flags.StringVar(&s.BindAddress, "bind-address", "127.0.0.1", "address the API server listens on")
	flags.IntVar(&s.Port, "port", 6443, "port the API server listens on")
	flags.StringVar(&s.ServiceCIDR, "service-cidr", "10.96.0.0/16", "range of the Services' cluster addresses")
	flags.BoolVar(&s.UntilStdinCloses, "until-stdin-closes", false, "stop when standard input ends, so that the process never outlives its parent")
	flags.StringArrayVar(&s.APIServerArgs, "apiserver-arg", nil, "one more kube-apiserver flag, like --event-ttl=10m (repeatable)")
	flags.StringArrayVar(&s.ControllerManagerArgs, "controller-manager-arg", nil, "one more kube-controller-manager flag (repeatable)")
	flags.StringArrayVar(&s.SchedulerArgs, "scheduler-arg", nil, "one more kube-scheduler flag (repeatable)")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("%q is not a flag", flags.Arg(0))
	}
	return s, s.validate()
}

func (s *Settings) validate() error {
	if s.DataDir == "" {
		return fmt.Errorf("--data-dir is required")
	}
	if s.Port < 1 || s.Port > 65535 {
		return fmt.Errorf("--port %d is not between 1 and 65535", s.Port)
	}
	if _, err := netip.ParseAddr(s.BindAddress); err != nil {
		return fmt.Errorf("--bind-address: %w", err)
	}
	var err error
	s.DataDir, err = filepath.Abs(s.DataDir)
	return err
}

// EnterRunDir makes the private folder of the sockets the working directory: etcd's socket addresses are file
// names in it, and a path from the root could be longer than a socket address may be.
func (s Settings) EnterRunDir() error {
	if err := os.MkdirAll(s.RunDir(), 0o700); err != nil {
		return err
	}
	if err := os.Chmod(s.RunDir(), 0o700); err != nil {
		return err
	}
	return os.Chdir(s.RunDir())
}

// RunDir is the private folder of the sockets.
func (s Settings) RunDir() string {
	return filepath.Join(s.DataDir, "run")
}

// PKI is the path of a file in pki/.
func (s Settings) PKI(name string) string {
	return filepath.Join(s.DataDir, "pki", name)
}
