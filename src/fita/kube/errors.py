"""What can go wrong between FITA and a Kubernetes API server, each with what to do about it.

FitaError
└── KubeError
    ├── KubeconfigError           a kubeconfig, or the pod's service account, cannot be used
    │   └── CredentialPluginError   the program it names for logging in fails
    ├── ConnectionFailedError     the API server does not answer, or answers what none may
    └── ApiError                  the API server refuses: `status`, `reason`, `message`
        ├── UnauthorizedError       401
        ├── ForbiddenError          403
        ├── NotFoundError           404
        ├── AlreadyExistsError      409, reason AlreadyExists
        ├── ConflictError           409, or 422 for another uid: the object is not the expected one
        ├── GoneError               410: the resource version is too old, list again
        ├── InvalidError            422
        └── TooManyRequestsError    429: `retry_after_s`, as all of them where the server says so

Status objects: https://kubernetes.io/docs/reference/using-api/api-concepts/ and
https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#response-status-kind
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from fita.base.errors import FitaError

MAX_MESSAGE_CHARACTERS = 1000


class KubeError(FitaError):
    """The root of this package's errors."""


class KubeconfigError(KubeError):
    """A kubeconfig cannot be used. `path` is the file to mend, None when there is none."""

    def __init__(self, message: str, *, path: Path | None = None, hint: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message, hint=hint)
        self.path = path


class CredentialPluginError(KubeconfigError):
    """The program that a kubeconfig names for logging in cannot be run, or gives no credentials."""


class ConnectionFailedError(KubeError):
    """The API server does not answer, or answers what no API server may. Trying later may help."""


class ApiError(KubeError):
    """The API server refuses a request: HTTP `status`, Kubernetes' `reason` in one word, its `message`.

    `retry_after_s`: in how many seconds it wants the request again, 0 when it did not say so.
    """

    def __init__(
        self, status: int, reason: str, message: str, *, retry_after_s: float = 0, hint: str = ""
    ) -> None:
        super().__init__(message or reason or f"the API server answers {status}", hint=hint)
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s


class UnauthorizedError(ApiError):
    """The API server does not accept these credentials (401)."""


class ForbiddenError(ApiError):
    """The user is known and may not do this (403), or the namespace is being deleted."""


class NotFoundError(ApiError):
    """There is no such object, or no such kind of objects (404)."""


class AlreadyExistsError(ApiError):
    """An object of this name exists (409)."""


class ConflictError(ApiError):
    """The object is not as the request expects: another resource version, uid or field owner."""


class GoneError(ApiError):
    """The resource version or continue token is older than what the API server remembers (410): list again."""


class InvalidError(ApiError):
    """The object does not pass validation (422); the message names the fields."""


class TooManyRequestsError(ApiError):
    """The API server, or a disruption budget, wants the request later (429)."""


class StatusCause(msgspec.Struct, frozen=True):
    field: str = ""


class StatusDetails(msgspec.Struct, frozen=True, rename="camel"):
    retry_after_seconds: float = 0
    causes: list[StatusCause] = []


class Status(msgspec.Struct, frozen=True):
    """Kubernetes' answer when there is no object to answer with."""

    reason: str = ""
    message: str = ""
    code: int = 0
    details: StatusDetails | None = None


_HINTS = {
    401: "the kubeconfig's certificate or token has expired or belongs to another cluster",
    403: "the user of the kubeconfig needs a role that allows it: `kubectl auth can-i --list` shows what it may",
}
_TYPES: dict[int, type[ApiError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    422: InvalidError,
    429: TooManyRequestsError,
}


def api_error(code: int, body: bytes | msgspec.Raw, *, retry_after_s: float = 0) -> ApiError:
    """The error for an answer with HTTP status `code`, a `Status` (or any text) as body, and its Retry-After."""
    status = _decode_status(body)
    if status.details is not None:
        retry_after_s = max(retry_after_s, status.details.retry_after_seconds)
    message = status.message[:MAX_MESSAGE_CHARACTERS]
    kind, hint = _type(code, status), _HINTS.get(code, "")
    return kind(code, status.reason, message, retry_after_s=retry_after_s, hint=hint)


def _type(code: int, status: Status) -> type[ApiError]:
    if code == 409 and status.reason == "AlreadyExists":
        return AlreadyExistsError
    causes = status.details.causes if status.details is not None else []
    if code == 422 and any(cause.field == "metadata.uid" for cause in causes):
        return ConflictError  # how a patch that names another uid is refused
    return _TYPES.get(code, ApiError)


def event_error(body: msgspec.Raw) -> ApiError:
    """The error that a watch reports as its last event."""
    return api_error(_decode_status(body).code or 500, body)


def _decode_status(body: bytes | msgspec.Raw) -> Status:
    """`body` as a Status; a proxy in between, or an API server that starts, answers plain text."""
    try:
        return msgspec.json.decode(body, type=Status)
    except (msgspec.DecodeError, RecursionError):
        return Status(message=bytes(body).decode("utf-8", "replace").strip())
