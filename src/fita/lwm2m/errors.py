"""The errors of this package. All are `FitaError`: a message and a hint.

Lwm2mError
├── PathError               text that is no LwM2M path
├── LinkFormatError         a payload that is not in link format (RFC 6690)
├── PayloadError            a payload that is not in the content format it claims
├── UnsupportedFormatError  a content format that is not read or written here
├── UnknownDeviceError      no registered device of that name
├── DeviceBusyError         too many operations wait for one device
├── SessionClosedError      the device registered again or left while something was under way
└── RegistrationError       a registration, update or deregistration that is refused; knows its response code

What the kubelet sees of them is always `fita.model.runtime.DeployError`.
"""

from __future__ import annotations

from fita.base.errors import FitaError
from fita.coap.code import Code
from fita.model.device import Endpoint


class Lwm2mError(FitaError):
    """Root of this package's errors."""


class PathError(Lwm2mError):
    """Text that is no LwM2M path."""


class LinkFormatError(Lwm2mError):
    """A payload that is not in link format."""


class PayloadError(Lwm2mError):
    """A payload that is not in the content format it claims. `content_format` is its IANA number."""

    def __init__(self, content_format: int, message: str) -> None:
        super().__init__(
            f"content format {content_format}: {message}", hint="the device's LwM2M client encodes it wrongly"
        )
        self.content_format = content_format


class UnsupportedFormatError(Lwm2mError):
    """A content format that is not read or written here."""

    def __init__(self, content_format: int | None) -> None:
        super().__init__(
            f"content format {content_format} is not understood",
            hint="the device must speak SenML CBOR (112), SenML JSON (110), TLV (11542) or text (0)",
        )
        self.content_format = content_format


class UnknownDeviceError(Lwm2mError):
    """No registered device of that name."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(f"the device {endpoint} is not registered", hint="is it switched on and in reach?")


class DeviceBusyError(Lwm2mError):
    """Too many operations wait for one device."""

    def __init__(self, waiting: int) -> None:
        super().__init__(f"{waiting} operations wait for the device already", hint="it is slow or does not answer")


class SessionClosedError(Lwm2mError):
    """The device registered again or left while something was under way."""


class RegistrationError(Lwm2mError):
    """A registration, update or deregistration that is refused with `code`."""

    def __init__(self, code: Code, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code
