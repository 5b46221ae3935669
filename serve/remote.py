"""A query's video by URL: from hosts that the operator names, over HTTPS, and never from an address of ours.

A name is resolved once, every address of it has to be public, and the connection goes to the address that was checked,
so that no second answer of a name server decides. Each redirect is checked like the URL itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from covr.limits import LIMITS, Limits
from serve.guard import too_large
from serve.problems import Problem

_PORT = 443
_KINDS = ("video/", "image/", "application/octet-stream")
_EMBEDDING = (ipaddress.ip_network("64:ff9b::/96"),)  # NAT64: the last four bytes are an IPv4 address


class Fetched(NamedTuple):
    """A file that lasts as long as the `with` block."""

    path: Path
    sha256: str


@asynccontextmanager
async def fetched(url: str, hosts: Collection[str], limits: Limits = LIMITS) -> AsyncIterator[Fetched]:
    """The file behind a URL.

    Args:
        hosts: from which a file may come; none: from nowhere.

    Raises:
        Problem: 403, not from there; 422, no such URL or file; 413, 415, what is there is too large or no video.
    """
    with tempfile.TemporaryDirectory(prefix="covr-url-") as folder:
        path = Path(folder) / "clip"
        try:
            async with asyncio.timeout(limits.url_timeout_s):
                sha256 = await _download(url, path, hosts, limits)
        except TimeoutError:
            raise _failed(f"it did not arrive within {limits.url_timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError):
            raise _failed("its server does not give it") from None
        yield Fetched(path, sha256)


async def _download(url: str, path: Path, hosts: Collection[str], limits: Limits) -> str:
    async with httpx.AsyncClient(trust_env=False, verify=ssl.create_default_context(), timeout=None) as client:
        for _ in range(1 + limits.max_redirects):
            asked = _allowed(url, hosts)
            request = client.build_request(
                "GET",
                asked.copy_with(host=await _address(asked.host), port=_PORT),
                headers={"Host": asked.host, "Accept-Encoding": "identity"},
                extensions={"sni_hostname": asked.host},  # the certificate has to be the host's
            )
            response = await client.send(request, stream=True)
            try:
                if not response.has_redirect_location:
                    return await _kept(response, path, limits)
                url = str(asked.join(response.headers["location"]))
            finally:
                await response.aclose()
    raise _failed("it is redirected too often")


def _allowed(url: str, hosts: Collection[str]) -> httpx.URL:
    asked = httpx.URL(url)
    if asked.scheme != "https" or asked.userinfo or asked.port is not None or not asked.host:
        raise Problem(422, "bad-url", "A video's URL is https://HOST/..., without a port and without credentials.")
    if asked.host.lower() not in hosts:
        raise Problem(403, "url-not-allowed", "Videos are not fetched from there.")
    return asked


async def _address(host: str) -> str:
    """The one address that is connected to."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, _PORT, type=socket.SOCK_STREAM)
    except OSError:
        raise _failed("its host has no address") from None
    addresses = [str(info[4][0]) for info in found]
    if not all(_is_public(ipaddress.ip_address(address)) for address in addresses):
        raise Problem(403, "url-not-allowed", "Videos are not fetched from there.")
    return addresses[0]


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Of the whole internet, also the IPv4 address that one of IPv6 stands for."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if any(address in network for network in _EMBEDDING):
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if not all(_is_public(each) for each in inner if each is not None):
            return False
    return address.is_global and not address.is_multicast


async def _kept(response: httpx.Response, path: Path, limits: Limits) -> str:
    """Write the file; its hash."""
    if response.status_code != 200:
        raise _failed("its server does not give it")
    if not response.headers.get("content-type", "").lower().startswith(_KINDS):
        raise Problem(415, "not-a-video", "What is behind the URL is not a video or image.")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Problem(415, "compressed-body", "What is behind the URL is compressed.")
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        async for block in response.aiter_raw():
            size += len(block)
            if size > limits.max_body_bytes:
                raise too_large(limits)
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def _failed(why: str) -> Problem:
    return Problem(422, "url-failed", f"The video could not be fetched: {why}.")
