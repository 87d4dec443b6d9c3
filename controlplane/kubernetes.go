package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	apiserveroptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	controllermanageroptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"

	"fita.dev/controlplane/internal/order"
	"fita.dev/controlplane/internal/settings"
)

const readyPoll = 50 * time.Millisecond

// newParts parses the flags of all components before any of them runs: they share one set of feature gates,
// and a wrong flag must be told before the database is touched. The New...Command constructors are of no use here,
// because each of them takes the process's only signal handler.
func newParts(s settings.Settings) ([]order.Part, error) {
	server := apiserveroptions.NewServerRunOptions()
	if err := parseFlags("kube-apiserver", server.Flags(), s.APIServerArguments()); err != nil {
		return nil, err
	}
	manager, err := controllermanageroptions.NewKubeControllerManagerOptions()
	if err != nil {
		return nil, err
	}
	managerFlags := manager.Flags(controllermanager.KnownControllers(), controllermanager.ControllersDisabledByDefault(), controllermanager.ControllerAliases())
	if err := parseFlags("kube-controller-manager", managerFlags, s.ControllerManagerArguments()); err != nil {
		return nil, err
	}
	sched := scheduleroptions.NewOptions()
	if err := parseFlags("kube-scheduler", *sched.Flags, s.SchedulerArguments()); err != nil {
		return nil, err
	}
	if err := server.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return nil, err
	}
	if err := logsapi.ValidateAndApply(server.Logs, utilfeature.DefaultFeatureGate); err != nil {
		return nil, err
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})

	etcdStarted := make(chan struct{})
	return []order.Part{
		{
			Name:  "etcd",
			Run:   func(ctx context.Context) error { return runEtcd(ctx, s, etcdStarted) },
			Ready: func(ctx context.Context) error { return waitFor(ctx, etcdStarted) },
		}, {
			Name:  "kube-apiserver",
			Run:   func(ctx context.Context) error { return runAPIServer(ctx, server) },
			Ready: func(ctx context.Context) error { return waitForAPIServer(ctx, s.PKI("scheduler.kubeconfig")) },
		}, {
			Name:  "kube-controller-manager",
			Run:   func(ctx context.Context) error { return runControllerManager(ctx, manager) },
			Ready: func(context.Context) error { return nil },
		}, {
			Name:  "kube-scheduler",
			Run:   func(ctx context.Context) error { return runScheduler(ctx, sched) },
			Ready: func(context.Context) error { return nil },
		},
	}, nil
}

func parseFlags(name string, named cliflag.NamedFlagSets, args []string) error {
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	flags.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	flags.Usage = func() {}
	for _, set := range named.FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%s: %q is not a flag", name, flags.Arg(0))
	}
	return nil
}

func runAPIServer(ctx context.Context, options *apiserveroptions.ServerRunOptions) error {
	completed, err := options.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := completed.Validate(); len(errs) != 0 {
		return utilerrors.NewAggregate(errs)
	}
	return apiserver.Run(ctx, completed)
}

func runControllerManager(ctx context.Context, options *controllermanageroptions.KubeControllerManagerOptions) error {
	config, err := options.Config(ctx, controllermanager.KnownControllers(), controllermanager.ControllersDisabledByDefault(), controllermanager.ControllerAliases())
	if err != nil {
		return err
	}
	return controllermanager.Run(ctx, config.Complete())
}

func runScheduler(ctx context.Context, options *scheduleroptions.Options) error {
	config, sched, err := scheduler.Setup(ctx, options)
	if err != nil {
		return err
	}
	return scheduler.Run(ctx, config, sched)
}

func waitFor(ctx context.Context, started <-chan struct{}) error {
	select {
	case <-started:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waitForAPIServer returns when /readyz says ok: then the built-in roles exist and the other components may log in.
func waitForAPIServer(ctx context.Context, kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, readyPoll, true, func(ctx context.Context) (bool, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+"/readyz", nil)
		if err != nil {
			return false, err
		}
		response, err := client.Do(request)
		if err != nil {
			return false, nil // not listening yet
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK, nil
	})
}
