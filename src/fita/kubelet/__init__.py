"""One virtual kubelet for all devices of a gateway: nodes, leases, pods. Knows no device protocol."""
