package settings

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestParse(t *testing.T) {
	s, err := Parse([]string{"--data-dir=/data", "--port=7443", "--until-stdin-closes", "--apiserver-arg=--event-ttl=10m"})
	if err != nil {
		t.Fatal(err)
	}
	if s.DataDir != "/data" || s.Port != 7443 || !s.UntilStdinCloses || s.BindAddress != "127.0.0.1" {
		t.Errorf("got %+v", s)
	}
	if got := s.APIServerArguments(); got[len(got)-1] != "--event-ttl=10m" {
		t.Errorf("one's own flag must come last, so that it wins: %q", got)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct{ args, says string }{
		{"", "--data-dir is required"},
		{"--data-dir=/d --port=0", "--port 0 is not between"},
		{"--data-dir=/d --port=65536", "--port 65536 is not between"},
		{"--data-dir=/d --bind-address=nowhere", "--bind-address"},
		{"--data-dir=/d stray", `"stray" is not a flag`},
		{"--data-dir=/d --unknown", "unknown flag"},
	} {
		if _, err := Parse(strings.Fields(test.args)); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q gave %v, want %q", test.args, err, test.says)
		}
	}
	if _, err := Parse([]string{"--help"}); !errors.Is(err, pflag.ErrHelp) {
		t.Errorf("--help gave %v", err)
	}
}

func TestAuthorizationAndAdmission(t *testing.T) {
	args := Settings{DataDir: "/d", BindAddress: "127.0.0.1", Port: 6443}.APIServerArguments()
	for _, want := range []string{
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--etcd-servers=" + EtcdClientURL,
		"--client-ca-file=/d/pki/ca.crt",
		"--endpoint-reconciler-type=none",
	} {
		if !slices.Contains(args, want) {
			t.Errorf("%s is missing", want)
		}
	}
}

func TestNoComponentButTheAPIServerListens(t *testing.T) {
	s := Settings{DataDir: "/d", BindAddress: "127.0.0.1", Port: 6443}
	for _, args := range [][]string{s.ControllerManagerArguments(), s.SchedulerArguments()} {
		if !slices.Contains(args, "--secure-port=0") {
			t.Errorf("a port is open: %q", args)
		}
	}
	for _, url := range []string{EtcdClientURL, EtcdPeerURL} {
		if !strings.HasPrefix(url, "unix://") {
			t.Errorf("etcd listens on %s", url)
		}
	}
}

func TestEndpointFollowsBindAddress(t *testing.T) {
	for address, want := range map[string][]string{
		"0.0.0.0":      nil,
		"192.168.1.20": {"--advertise-address=192.168.1.20"},
		"127.0.0.1":    {"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"},
	} {
		if got := endpointArguments(address); !slices.Equal(got, want) {
			t.Errorf("%s gave %q, want %q", address, got, want)
		}
	}
}

func TestRunFolderIsPrivate(t *testing.T) {
	s := Settings{DataDir: t.TempDir()}
	t.Chdir(s.DataDir) // puts the working directory back afterwards
	if err := os.Mkdir(s.RunDir(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.EnterRunDir(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(s.RunDir())
	if err != nil || info.Mode().Perm() != fs.FileMode(0o700) {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	here, err := os.Getwd()
	if err != nil || filepath.Base(here) != "run" {
		t.Errorf("the working directory is %s, %v", here, err)
	}
}
