"""What can go wrong with a pod that neither its device nor a registry says, each with what to do about it.

FitaError
└── KubeletError
    └── PodFailureError   a pod cannot run as it is: `failure` holds the reason that its status names

Errors of a device are `fita.model.runtime.DeployError`, those of images `fita.oci.errors`, those of the API server
`fita.kube.errors`; `fita.kubelet.pod.failure` puts all of them into a kubelet's words.
"""

from __future__ import annotations

from fita.base.errors import FitaError
from fita.kubelet.pod.failure import Failure


class KubeletError(FitaError):
    """The root of this package's errors."""


class PodFailureError(KubeletError):
    """A pod cannot run as it is."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure
