"""One spelling for each peer: answers are matched by source address, so two spellings would never meet."""

from __future__ import annotations

import socket

from fita.coap.errors import TransportError
from fita.coap.interfaces import Peer

MAPPED = "::ffff:"
"""How an IPv6 socket spells an IPv4 host (RFC 4291 section 2.5.5.2); a `Peer` has the plain IPv4 address."""


def canonical_peer(peer: Peer) -> Peer:
    """`peer` as the transport spells it. Raises `TransportError` for a host name or an impossible port."""
    host, port = peer
    if not 0 < port < 65536:
        raise TransportError(f"{port} is no UDP port", hint="ports are 1 to 65535")
    try:
        if ":" not in host:
            socket.inet_pton(socket.AF_INET, host)
            return peer
        address, _, scope = host.partition("%")
        address = socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, address))
        if scope:
            return f"{address}%{_scope_id(scope)}", port
    except (OSError, ValueError):
        raise TransportError(f"{host!r} is no numeric address", hint="resolve the name first") from None
    return (address.removeprefix(MAPPED) if "." in address else address), port


def _scope_id(scope: str) -> int:
    return int(scope) if scope.isdecimal() else socket.if_nametoindex(scope)
