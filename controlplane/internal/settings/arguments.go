package settings

import (
	"net/netip"
	"strconv"
)

// etcd and its one client meet on unix sockets. The addresses name files in the working directory, which is the
// private run folder: no port is open, and only this user can reach the database.
const (
	EtcdClientURL = "unix://localhost:1"
	EtcdPeerURL   = "unix://localhost:2"
)

// A client's share of the API server on one machine: the defaults (20 and 50 requests a second) make a rollout of
// some hundred pods wait for the client, not for the server. The server's own priority levels still hold.
const (
	clientQPS   = "--kube-api-qps=200"
	clientBurst = "--kube-api-burst=400"
)

// APIServerArguments are kube-apiserver's flags.
func (s Settings) APIServerArguments() []string {
	args := []string{
		"--etcd-servers=" + EtcdClientURL,
		"--bind-address=" + s.BindAddress,
		"--secure-port=" + strconv.Itoa(s.Port),
		"--tls-cert-file=" + s.PKI("apiserver.crt"),
		"--tls-private-key-file=" + s.PKI("apiserver.key"),
		"--client-ca-file=" + s.PKI("ca.crt"),
		"--kubelet-client-certificate=" + s.PKI("kubelet-client.crt"),
		"--kubelet-client-key=" + s.PKI("kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + s.PKI("service-account.key"),
		"--service-account-signing-key-file=" + s.PKI("service-account.key"),
		"--service-cluster-ip-range=" + s.ServiceCIDR,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--profiling=false",
	}
	return append(append(args, endpointArguments(s.BindAddress)...), s.APIServerArgs...)
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

// ControllerManagerArguments are kube-controller-manager's flags.
func (s Settings) ControllerManagerArguments() []string {
	args := []string{
		"--kubeconfig=" + s.PKI("controller-manager.kubeconfig"),
		"--secure-port=0",
		"--leader-elect=false",
		"--profiling=false",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + s.PKI("service-account.key"),
		"--root-ca-file=" + s.PKI("ca.crt"),
		"--cluster-signing-cert-file=" + s.PKI("ca.crt"),
		"--cluster-signing-key-file=" + s.PKI("ca.key"),
		"--flex-volume-plugin-dir=" + s.RunDir(), // made when missing, by default outside of the data folder
		clientQPS,
		clientBurst,
	}
	return append(args, s.ControllerManagerArgs...)
}

// SchedulerArguments are kube-scheduler's flags.
func (s Settings) SchedulerArguments() []string {
	args := []string{
		"--kubeconfig=" + s.PKI("scheduler.kubeconfig"),
		"--secure-port=0",
		"--leader-elect=false",
		"--profiling=false",
		clientQPS,
		clientBurst,
	}
	return append(args, s.SchedulerArgs...)
}
