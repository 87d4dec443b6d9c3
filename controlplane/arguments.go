package main

import (
	"net/netip"
	"strconv"
)

// A client's share of the API server on one machine: the defaults (20 and 50 requests a second) make a rollout of
// some hundred pods wait for the client, not for the server. The server's own priority levels still hold.
const (
	clientQPS   = "--kube-api-qps=200"
	clientBurst = "--kube-api-burst=400"
)

func (s settings) apiserverArguments() []string {
	args := []string{
		"--etcd-servers=" + etcdClientURL,
		"--bind-address=" + s.bindAddress,
		"--secure-port=" + strconv.Itoa(s.port),
		"--tls-cert-file=" + s.pki("apiserver.crt"),
		"--tls-private-key-file=" + s.pki("apiserver.key"),
		"--client-ca-file=" + s.pki("ca.crt"),
		"--kubelet-client-certificate=" + s.pki("kubelet-client.crt"),
		"--kubelet-client-key=" + s.pki("kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + s.pki("service-account.key"),
		"--service-account-signing-key-file=" + s.pki("service-account.key"),
		"--service-cluster-ip-range=" + s.serviceCIDR,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--profiling=false",
	}
	return append(append(args, endpointArguments(s.bindAddress)...), s.apiserverArgs...)
}

// endpointArguments keep the API server off the search for an address to advertise, which fails on a machine without
// a network. A loopback address cannot be an endpoint of the Service kubernetes, so there are none then.
func endpointArguments(bindAddress string) []string {
	address := netip.MustParseAddr(bindAddress)
	switch {
	case address.IsLoopback():
		return []string{"--advertise-address=" + bindAddress, "--endpoint-reconciler-type=none"}
	case address.IsUnspecified():
		return nil
	default:
		return []string{"--advertise-address=" + bindAddress}
	}
}

func (s settings) controllerManagerArguments() []string {
	args := []string{
		"--kubeconfig=" + s.pki("controller-manager.kubeconfig"),
		"--secure-port=0",
		"--leader-elect=false",
		"--profiling=false",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + s.pki("service-account.key"),
		"--root-ca-file=" + s.pki("ca.crt"),
		"--cluster-signing-cert-file=" + s.pki("ca.crt"),
		"--cluster-signing-key-file=" + s.pki("ca.key"),
		"--flex-volume-plugin-dir=" + s.runDir(), // made when missing, by default outside of the data folder
		clientQPS,
		clientBurst,
	}
	return append(args, s.controllerManagerArgs...)
}

func (s settings) schedulerArguments() []string {
	args := []string{
		"--kubeconfig=" + s.pki("scheduler.kubeconfig"),
		"--secure-port=0",
		"--leader-elect=false",
		"--profiling=false",
		clientQPS,
		clientBurst,
	}
	return append(args, s.schedulerArgs...)
}
