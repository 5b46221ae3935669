"""Where the endpoint may listen: where it asks for no key, on loopback only."""

from __future__ import annotations

import ipaddress
import random
import socket

from covr.errors import UserError

_FREE = range(20_000, 32_768)
"""Above the ports of Ray's workers, below those that the kernel hands to any connection before Serve has bound ours."""


def check_loopback(host: str) -> None:
    """Refuse an address that other machines reach.

    Raises:
        UserError: no such host, or not loopback.
    """
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        raise UserError("no such host", host, "leave serve.host at 127.0.0.1") from None
    if not all(ipaddress.ip_address(address).is_loopback for address in found):
        raise UserError(
            "the endpoint has no access keys, so it listens on loopback only",
            host,
            "leave serve.host at 127.0.0.1, or make keys (python -m serve.newkey) and give serve.app.keys",
        )


def free_port(host: str, port: int) -> int:
    """`port` if nothing listens there, any free one for 0.

    Raises:
        UserError: it is taken, or may not be used.
    """
    if port:
        return _bound(host, port)
    for candidate in random.sample(_FREE, 20):
        try:
            return _bound(host, candidate)
        except UserError:
            continue  # taken: it goes on with the next
    raise UserError("no free port was found", f"{host}, {_FREE.start} to {_FREE.stop - 1}", "give serve.port=...")


def _bound(host: str, port: int) -> int:
    family = socket.getaddrinfo(host, port)[0][0]
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just given up counts as free
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "no such port"
            where = f"serve.port={port}"
            raise UserError(f"cannot listen there ({reason})", where, "choose another, or 0 for any free one") from None
    return port
