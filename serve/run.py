"""The endpoint for as long as a `with` block lasts; afterwards nothing is left but what was there before."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from omegaconf import DictConfig, OmegaConf
from pydantic import ValidationError
from ray import serve as ray_serve
from ray.exceptions import RayActorError
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_exists, _internal_kv_put
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from ray.serve.config import ControllerOptions, HTTPOptions
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException

from covr.client import Client, RequestRefused
from covr.errors import UserError
from covr.index.current import Current
from covr.storage import Place
from serve.address import check_loopback, free_port
from serve.app import app
from serve.settings import Settings

_READY_S = 120.0
_STOPPED_S = 60.0
_PROXY_LIMIT = "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"
_PROXY_S = "30"
"""Ray ends a proxy that has not come up in three times this, which is 5 s of Ray's own: on a busy machine it takes
longer. What starts Serve waits for 60 s in all, and there Ray leaves no choice."""
_STARTED = b"covr/serve"
"""A key of the cluster's, there while its Serve instance is one that an endpoint of covr started."""


@contextmanager
def serving(root: Place, options: DictConfig) -> Iterator[str]:
    """Serve what `root` holds on the Ray cluster that this process is connected to.

    A Serve instance that is already there is used as it is, its host and port too. It goes on afterwards, unless
    another endpoint of covr started it and this one is the last on it.

    Args:
        options: the `serve` group of the configuration.

    Yields:
        The URL, once a true query was answered.

    Raises:
        UserError: nothing is indexed, retriever or index is damaged, the address is taken or not loopback, or the
            name or route is another application's.
    """
    Current.read(root)  # what is missing is said before anything starts
    settings = _settings(root, options)
    found = _get_global_client(raise_if_no_controller_running=False)
    if found is None:
        if settings.keys is None:
            check_loopback(options.host)
        http = HTTPOptions(host=options.host, port=free_port(options.host, options.port))
        _start(http)
        _internal_kv_put(_STARTED, b"")
    elif options.name in ray_serve.status().applications:
        raise UserError("this Serve instance has an application of that name", options.name, "choose serve.name=...")
    else:
        http = found.http_config
    try:
        _deploy(settings, options)
        url = f"http://{http.host}:{http.port}{options.route_prefix}".rstrip("/")
        wait_ready(url)
        yield url
    finally:
        with _quiet():
            if _internal_kv_exists(_STARTED) and set(ray_serve.status().applications) <= {options.name}:
                _internal_kv_del(_STARTED)
                _stop_serve()
            else:
                ray_serve.delete(options.name)


def remove(name: str) -> None:
    """Take an application off the cluster's Serve instance if it is there: a killed process leaves its own."""
    if _get_global_client(raise_if_no_controller_running=False) is None:
        return
    if name in ray_serve.status().applications:
        with _quiet():
            ray_serve.delete(name)


def _start(http: HTTPOptions) -> None:
    limit = {"env_vars": {_PROXY_LIMIT: os.environ.get(_PROXY_LIMIT, _PROXY_S)}}
    try:
        with _quiet():
            ray_serve.start(
                proxy_location="HeadOnly",
                http_options=http,
                controller_options=ControllerOptions(runtime_env=limit),
            )
    except (TimeoutError, RayActorError) as error:
        with _quiet():
            _stop_serve()
        if "creation task" in str(error):  # it failed by itself; otherwise the controller ended it, as not ready
            raise
        raise _too_slow(f"{http.host}:{http.port}") from None


def _too_slow(where: str) -> UserError:
    fix = "start again once the machine is less busy; uptime says how much it is"
    return UserError("Ray Serve's proxy was not ready in time", where, fix)


def _settings(root: Place, options: DictConfig) -> Settings:
    given: Any = OmegaConf.to_container(options.app)
    try:
        return Settings.model_validate({**given, "root": str(root)})
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(first["msg"], f"serve.app.{first['loc'][0]}", "correct the option") from None


def _deploy(settings: Settings, options: DictConfig) -> None:
    try:
        with _quiet():
            ray_serve.run(app(settings), name=options.name, route_prefix=options.route_prefix)
    except RayServeException as error:  # it names the application that has this route
        raise UserError(str(error), options.route_prefix, "choose serve.route_prefix=...") from None
    except TimeoutError:
        raise _too_slow(options.route_prefix) from None


def wait_ready(url: str) -> None:
    """Return once the endpoint has answered a query of its own.

    Raises:
        UserError: it says that it cannot, and why; or nothing answers.
    """
    deadline = time.monotonic() + _READY_S
    with Client(url, timeout_s=_READY_S) as client:
        while True:
            try:
                client.ready()
                return
            except UserError as refusal:
                if isinstance(refusal, RequestRefused) and refusal.problem is not None:  # the gateway itself
                    raise UserError(refusal.problem.detail, url, "mend that, then start again") from None
                if time.monotonic() > deadline:  # Serve's proxy does not know the route yet, or is started again
                    raise _too_slow(url) from None
                time.sleep(0.1)


def _stop_serve() -> None:
    """`ray_serve.shutdown`, but not waiting in a call that dies with the controller: Ray prints that as an error."""
    controller = ray.get_actor(SERVE_CONTROLLER_NAME, SERVE_NAMESPACE)
    ray.get(controller.graceful_shutdown.remote(wait=False))
    deadline = time.monotonic() + _STOPPED_S
    while time.monotonic() < deadline:
        try:
            ray.get_actor(SERVE_CONTROLLER_NAME, SERVE_NAMESPACE)
        except ValueError:
            break
        time.sleep(0.05)
    ray_serve.shutdown()  # forgets the controller in this process, or ends one that would not end


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Ray Serve's own lines of progress; its warnings stay."""
    logger = logging.getLogger("ray.serve")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
