"""What the application can be told, by `serve deploy`'s `args` or by the `serve.app` options."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

DEFAULT = "default"
"""The name of the retriever of `root`."""
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]{0,62}$")]


class Settings(BaseModel):
    """Arguments of `serve.app:app`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: str = Field(description="Storage root that holds index/current.json: a folder, s3:// or gs:// URI.")
    retrievers: Annotated[dict[Name, str], BeforeValidator(lambda given: given or {})] = Field(
        default={}, description="More retrievers behind this endpoint, each a name and a storage root of its own."
    )
    topology: Literal["colocated", "separate"] = Field(
        default="colocated",
        description="Encoder and index in one replica; or encoders, shards of the index and its writer, apart.",
    )
    shards: int = Field(default=1, ge=1, description="Parts of a separate index.")
    encoders: int = Field(default=1, ge=1, description="Replicas of a separate encoder, at least.")
    max_encoders: int = Field(default=1, ge=1, description="At most; above `encoders`, their number follows the load.")
    upscale_delay_s: float = Field(
        default=30.0, ge=0, description="How long the load asks for more encoders before they come."
    )
    downscale_delay_s: float = Field(
        default=600.0, ge=0, description="How long it asks for fewer before they go; each has the model to load."
    )
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
    url_hosts: frozenset[str] = Field(
        default=frozenset(), description="Hosts that the video of a query may be fetched from by URL; none: it may not."
    )
    logs: Literal["JSON", "TEXT"] = Field(default="JSON", description="Form of the replicas' log lines.")
    audit: str | None = Field(default=None, description="File that gets one JSON line a request; null: none.")
    compact_after: int = Field(
        default=1000, ge=1, description="Live changes after which the index is written as a new snapshot."
    )
    watch_s: float | None = Field(
        default=None,
        gt=0,
        description="How often index/current.json is looked at, and the pair that it names taken; null: "
        "only when POST /v1/admin/reload asks for it.",
    )
    gateway_cpus: float = Field(default=0.1, ge=0, description="CPUs that the gateway reserves on the cluster.")
    retrieval_cpus: float = Field(
        default=0.5, ge=0, description="CPUs that an encoder reserves, with its index or not."
    )
    shard_cpus: float = Field(default=0.1, ge=0, description="CPUs that a shard reserves, and the writer.")
    retrieval_gpus: float = Field(default=0.0, ge=0, description="GPUs that the encoder reserves; 0: it runs on CPU.")

    @property
    def roots(self) -> dict[str, str]:
        """The storage root of each retriever, by name; the one of `root` is the first."""
        return {DEFAULT: self.root, **self.retrievers}

    @model_validator(mode="after")
    def _of_one_topology(self) -> Self:
        if DEFAULT in self.retrievers:
            raise ValueError(f"the retriever of `root` is named {DEFAULT}: name the others otherwise")
        if self.max_encoders < self.encoders and "max_encoders" in self.model_fields_set:
            raise ValueError("max_encoders is less than encoders")
        delays = ("upscale_delay_s", "downscale_delay_s")
        changed = [name for name in delays if getattr(self, name) != type(self).model_fields[name].default]
        if changed and self.max_encoders <= self.encoders:
            raise ValueError(f"{changed[0]} says nothing where max_encoders is not above encoders")
        if self.topology == "colocated" and max(self.shards, self.encoders, self.max_encoders) > 1:
            raise ValueError(
                "one replica holds encoder and index, because it keeps the changes of the index: "
                "shards and encoders are for topology separate"
            )
        return self
