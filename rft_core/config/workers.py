"""`worker:` in the run file: where a component runs, and how the engine reaches it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rft_core.addresses import is_on_host
from rft_core.errors import ConfigError


class WorkerConfig(BaseModel):
    """Without any setting: one process on this machine, started and supervised by the engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(1, ge=1, le=256, description="Processes that the engine starts. Does not change results.")
    threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Threads for computing in each process; empty means 1. Fixed, so that `count` does not change results.",
    )
    concurrency: int = Field(4, ge=1, le=1024, description="Groups that one grader worker grades at the same time.")
    hedge: bool | None = Field(
        None,
        description="Give a unit that takes much longer than others to an idle worker too; the first answer counts. Empty means yes for samplers and no for graders, where a second try may cost money.",
    )
    python: str | None = Field(
        None,
        description="Python interpreter of another environment that holds rft-workers and the plugin; empty means the engine's own.",
    )
    address: str | tuple[str, ...] | None = Field(
        None, description="Workers started by hand, as host:port or unix:/path; the engine then starts none."
    )
    token_env: str = Field(
        "RFT_WORKER_TOKEN", description="Environment variable with the token of the workers at `address`."
    )
    token_file: Path | None = Field(None, description="File with that token; wins over `token_env`.")
    tls_ca: Path | None = Field(None, description="PEM file of the authority that signed the workers' certificates.")
    tls_cert: Path | None = Field(None, description="PEM certificate the engine shows to the workers (mTLS).")
    tls_key: Path | None = Field(None, description="PEM key of `tls_cert`.")
    in_process: bool = Field(
        False, description="Run the component in the engine's own process: simple, but a crash takes the run along."
    )
    call_timeout_s: float = Field(
        600.0,
        gt=0,
        description="Longest a sampler may take for one unit before it is asked for elsewhere; for graders `grading.timeout_s` bounds each group.",
    )
    start_timeout_s: float = Field(
        300.0, gt=0, description="Longest a worker may take to start and to build its component."
    )

    @property
    def addresses(self) -> tuple[str, ...]:
        """Addresses of the workers started by hand; empty when the engine starts its own."""
        if self.address is None:
            return ()
        return (self.address,) if isinstance(self.address, str) else tuple(self.address)

    @property
    def size(self) -> int:
        """How many workers share the units."""
        return len(self.addresses) or self.count

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.in_process and (self.address is not None or self.python is not None or self.count != 1):
            raise ValueError(
                "in_process excludes address, python and count: there is no worker process; remove one of them"
            )
        if self.address is not None and not self.addresses:
            raise ValueError("address lists no worker; name at least one, or remove the key")
        if self.address is not None and self.python is not None:
            raise ValueError(
                "address and python exclude each other: workers at an address are started by hand; remove one of them"
            )
        if len(set(self.addresses)) != len(self.addresses):
            raise ValueError("address names a worker twice; remove one")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together; give both")
        for address in self.addresses:
            if not is_on_host(address) and self.tls_ca is None:
                raise ValueError(
                    f"the worker at {address} is not on this machine, so tokens and data would travel unencrypted; "
                    "give tls_ca, or tunnel it to a loopback port"
                )
        return self

    def token(self, base_dir: Path) -> str:
        """The token for workers at `address`. ConfigError if there is none."""
        if self.token_file is not None:
            file = base_dir / self.token_file
            try:
                token = file.read_text().strip()
            except OSError as error:
                raise ConfigError(
                    f"the token file {file} cannot be read ({error.strerror})", where="worker.token_file"
                ) from None
        else:
            token = os.environ.get(self.token_env, "").strip()
        if not token:
            source = self.token_file or f"the environment variable {self.token_env}"
            raise ConfigError(
                f"the workers at {', '.join(self.addresses)} need a token, and {source} holds none", where="worker"
            )
        return token
