"""The application: `serve.app:app` for `serve deploy` and for `serve.run`."""

# No postponed annotations: Ray Serve reads the type of `settings` to check what it is given.

from pathlib import Path
from typing import Any

import ray
from ray.serve import Application
from ray.serve.context import _get_global_client
from ray.serve.schema import LoggingConfig

from covr.storage import Place
from serve import tracing
from serve.address import check_loopback
from serve.encoding import Encoding
from serve.gateway import Gateway
from serve.keys import Keys
from serve.retrieval import Retrieval
from serve.settings import DEFAULT, Settings
from serve.shard import Shard
from serve.writer import Writer


def app(settings: Settings) -> Application:
    """Gateway, and what answers over the pair of each root, as `settings.topology` says.

    Raises:
        UserError: the Serve instance that is there listens where other machines reach it and there are no keys, or
            the file of keys is not as it must be.
    """
    instance = _get_global_client(raise_if_no_controller_running=False) if ray.is_initialized() else None
    if settings.keys is not None:
        Keys.read(Place(settings.keys))  # what is wrong with it is said before anything starts
    elif instance is not None:
        check_loopback(instance.http_config.host)
    files = {name: str(Path(path).absolute()) for name in ("keys", "audit") if (path := getattr(settings, name))}
    roots = {name: str(Place(root)) for name, root in settings.retrievers.items()}  # replicas run in other folders
    settings = settings.model_copy(update={"root": str(Place(settings.root)), "retrievers": roots, **files})
    wire = _colocated if settings.topology == "colocated" else _separate
    wired = {
        name: wire(settings.model_copy(update={"root": root}), "" if name == DEFAULT else f"-{name}")
        for name, root in settings.roots.items()
    }
    gateway = Gateway.options(  # type: ignore[attr-defined]
        ray_actor_options=_actor(settings.gateway_cpus),
        logging_config=_logs(settings),
        max_ongoing_requests=2 * settings.max_in_flight,  # those over the limit come in to be told so
        graceful_shutdown_wait_loop_s=0.2,
    )
    return gateway.bind(settings, wired)


def _colocated(settings: Settings, suffix: str) -> dict[str, Any]:
    """One replica: it holds the live changes of its index, and an index has one writer."""
    return {"retrieval": _named(Retrieval, f"Retrieval{suffix}", settings, _encoder(settings)).bind(settings)}


def _separate(settings: Settings, suffix: str) -> dict[str, Any]:
    """Encoders hold nothing that changes, and come and go with the load; each shard and the writer are one replica."""
    encoding = _named(Encoding, f"Encoding{suffix}", settings, _encoder(settings))
    if settings.max_encoders > settings.encoders:
        scaling = {
            "min_replicas": settings.encoders,
            "max_replicas": settings.max_encoders,
            "target_ongoing_requests": settings.max_batch_size,
            "upscale_delay_s": settings.upscale_delay_s,
            "downscale_delay_s": settings.downscale_delay_s,
        }
        encoding = encoding.options(autoscaling_config=scaling)
    else:
        encoding = encoding.options(num_replicas=settings.encoders)
    of_index = _actor(settings.shard_cpus)
    encoders = encoding.bind(settings)
    shards = [
        _named(Shard, f"Shard{suffix}-{number}", settings, of_index).bind(settings, number)
        for number in range(settings.shards)
    ]
    writer = _named(Writer, f"Writer{suffix}", settings, of_index).bind(settings, encoders, shards)
    return {"encoding": encoders, "shards": shards, "writer": writer}


def _encoder(settings: Settings) -> dict[str, Any]:
    return {**_actor(settings.retrieval_cpus), "num_gpus": settings.retrieval_gpus}


def _actor(num_cpus: float) -> dict[str, Any]:
    """What a replica reserves, and where it sends its traces."""
    variables = tracing.environment()
    return {"num_cpus": num_cpus, **({"runtime_env": {"env_vars": variables}} if variables else {})}


def _logs(settings: Settings) -> LoggingConfig:
    return LoggingConfig(encoding=settings.logs)


def _named(deployment: Any, name: str, settings: Settings, reserved: dict[str, Any]) -> Any:
    return deployment.options(
        name=name,
        ray_actor_options=reserved,
        logging_config=_logs(settings),
        max_ongoing_requests=4 * settings.max_batch_size,  # the next batches gather while one is computed
        graceful_shutdown_wait_loop_s=0.2,
    )
