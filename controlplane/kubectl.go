package main

import (
	"os"

	_ "k8s.io/client-go/plugin/pkg/client/auth" // logins that existing kubeconfigs name
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func runKubectl() {
	_, _ = logs.GlogSetter(cmd.GetLogVerbosity(os.Args)) // before the flags are parsed: plugins and kuberc log too
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}
