"""The application: `serve.app:app` for `serve deploy` and for `serve.run`."""

# No postponed annotations: Ray Serve reads the type of `settings` to check what it is given.

import ray
from ray.serve import Application
from ray.serve.context import _get_global_client

from covr.storage import Place
from serve.address import check_loopback
from serve.gateway import Gateway
from serve.retrieval import Retrieval
from serve.settings import Settings


def app(settings: Settings) -> Application:
    """Gateway and retrieval over the pair that `settings.root` holds.

    Raises:
        UserError: the Serve instance that is there listens where other machines reach it.
    """
    instance = _get_global_client(raise_if_no_controller_running=False) if ray.is_initialized() else None
    if instance is not None:
        check_loopback(instance.http_config.host)
    settings = settings.model_copy(update={"root": str(Place(settings.root))})  # replicas run in other folders
    retrieval = Retrieval.options(  # type: ignore[attr-defined]
        ray_actor_options={"num_cpus": settings.retrieval_cpus, "num_gpus": settings.retrieval_gpus},
        max_ongoing_requests=4 * settings.max_batch_size,  # the next batches gather while one is computed
        graceful_shutdown_wait_loop_s=0.2,
    )
    gateway = Gateway.options(  # type: ignore[attr-defined]
        ray_actor_options={"num_cpus": settings.gateway_cpus},
        max_ongoing_requests=8 * settings.max_batch_size,
        graceful_shutdown_wait_loop_s=0.2,
    )
    return gateway.bind(settings, retrieval.bind(settings))
