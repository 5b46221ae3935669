"""Where the endpoint may listen."""

from __future__ import annotations

import socket

import pytest

from covr.errors import UserError
from serve.address import check_loopback, free_port


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.8.8.8", "::1"])
def test_loopback_is_allowed(host):
    check_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "10.0.0.1"])
def test_what_others_reach_is_refused(host):
    with pytest.raises(UserError, match="no access keys"):
        check_loopback(host)


def test_no_such_host_is_said():
    with pytest.raises(UserError, match="no such host"):
        check_loopback("no-such-host.invalid")


def test_a_taken_port_is_refused_and_zero_finds_another():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"serve.port={port}"):
            free_port("127.0.0.1", port)
        assert free_port("127.0.0.1", 0) not in (0, port)


def test_a_port_out_of_range_is_refused():
    with pytest.raises(UserError, match="99999"):
        free_port("127.0.0.1", 99999)
