"""The application: `serve.app:app` for `serve deploy` and for `serve.run`."""

# No postponed annotations: Ray Serve reads the type of `settings` to check what it is given.

from pathlib import Path

import ray
from ray.serve import Application
from ray.serve.context import _get_global_client

from covr.storage import Place
from serve.address import check_loopback
from serve.gateway import Gateway
from serve.keys import Keys
from serve.retrieval import Retrieval
from serve.settings import Settings


def app(settings: Settings) -> Application:
    """Gateway and retrieval over the pair that `settings.root` holds.

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
    settings = settings.model_copy(update={"root": str(Place(settings.root)), **files})  # replicas run in other folders
    retrieval = Retrieval.options(  # type: ignore[attr-defined]
        ray_actor_options={"num_cpus": settings.retrieval_cpus, "num_gpus": settings.retrieval_gpus},
        max_ongoing_requests=4 * settings.max_batch_size,  # the next batches gather while one is computed
        graceful_shutdown_wait_loop_s=0.2,
    )
    gateway = Gateway.options(  # type: ignore[attr-defined]
        ray_actor_options={"num_cpus": settings.gateway_cpus},
        max_ongoing_requests=2 * settings.max_in_flight,  # those over the limit come in to be told so
        graceful_shutdown_wait_loop_s=0.2,
    )
    return gateway.bind(settings, retrieval.bind(settings))
