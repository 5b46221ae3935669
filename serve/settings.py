"""What the application can be told, by `serve deploy`'s `args` or by the `serve.app` options."""

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Arguments of `serve.app:app`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: str = Field(description="Storage root that holds index/current.json: a folder, s3:// or gs:// URI.")
    decoders: int = Field(default=1, ge=1, description="Decode processes beside the gateway.")
    max_batch_size: int = Field(default=16, ge=1, description="Queries encoded and searched together.")
    batch_wait_s: float = Field(
        default=0.0, ge=0, description="How long a query waits for others, beside the time of the batch before it."
    )
    timeout_s: float = Field(default=30.0, gt=0, description="Deadline of one query behind the gateway.")
    keys: str | None = Field(
        default=None, description="File of API keys; null: nobody is asked for one, and only loopback is served."
    )
    rate_per_s: float | None = Field(default=None, gt=0, description="Requests a second for each key; null: no limit.")
    burst: int = Field(default=20, ge=1, description="Requests of one key at once, where rate_per_s is set.")
    max_in_flight: int = Field(default=128, ge=1, description="Requests worked on at once; more are answered 429.")
    audit: str | None = Field(default=None, description="File that gets one JSON line a request; null: none.")
    compact_after: int = Field(
        default=1000, ge=1, description="Live changes after which the index is written as a new snapshot."
    )
    gateway_cpus: float = Field(default=0.1, ge=0, description="CPUs that the gateway reserves on the cluster.")
    retrieval_cpus: float = Field(default=0.5, ge=0, description="CPUs that encoder and index reserve.")
    retrieval_gpus: float = Field(default=0.0, ge=0, description="GPUs that the encoder reserves; 0: it runs on CPU.")
