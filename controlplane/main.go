// Command fita-controlplane is a Kubernetes control plane in one process: etcd, kube-apiserver,
// kube-controller-manager and kube-scheduler. Called under the name kubectl it is kubectl.
//
// It makes no certificates and picks no ports: whoever starts it does. It refuses to run anything
// with a share of its components: when one ends, all end, and the exit status is not zero.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"

	"fita.dev/controlplane/internal/order"
	"fita.dev/controlplane/internal/settings"
)

// gcPercent trades processor time that a small site has for memory that it has not: 287 MB instead of 320-350 MB
// at rest. The environment variable GOGC overrides it.
const gcPercent = 50

// stopLimit is how long an orderly stop may take; API requests in flight end within it.
const stopLimit = 20 * time.Second

func main() {
	if filepath.Base(os.Args[0]) == "kubectl" {
		runKubectl()
		return
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	s, err := settings.Parse(os.Args[1:])
	if errors.Is(err, pflag.ErrHelp) {
		return
	}
	if err == nil {
		err = serve(s)
	}
	klog.Flush()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fita-controlplane:", err)
		os.Exit(1)
	}
}

// serve runs the control plane until a signal, the end of standard input where that was asked for, or a failure.
func serve(s settings.Settings) error {
	if err := s.EnterRunDir(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if s.UntilStdinCloses {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			stop()
		}()
	}
	context.AfterFunc(ctx, func() {
		stop() // a second signal ends the process at once
		time.AfterFunc(stopLimit, func() {
			fmt.Fprintf(os.Stderr, "fita-controlplane: the orderly stop took more than %s\n", stopLimit)
			os.Exit(1)
		})
	})
	parts, err := newParts(s)
	if err != nil {
		return err
	}
	return order.Run(ctx, parts)
}
