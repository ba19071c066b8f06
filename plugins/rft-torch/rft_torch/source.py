"""The model source `pretrained`: a folder on this machine, or a repository on the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from rft_core.boundary import disk_error
from rft_core.errors import ModelError
from rft_core.specs import BuildContext, ComponentConfig
from rft_core.types import ModelRef

HUB_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "LICENSE*", "README.md")
HUB_DOUBLES = ("consolidated*", "*/*.safetensors")
"""The same weights once more, in their makers' own format (Mistral's repositories, GPT-OSS's `original/`)."""
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


class PretrainedConfig(ComponentConfig):
    """Settings of `model: {type: pretrained}`."""

    path: str = Field(
        description="A Hugging Face model folder (relative to the run file), or a hub id such as Qwen/Qwen3-0.6B."
    )
    revision: str | None = Field(None, description="Branch, tag or commit on the hub; not used for folders.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where the model runs; auto takes CUDA where there is one."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Precision of the weights; auto is bfloat16 on CUDA and float32 on CPU."
    )


class PretrainedSource:
    """See `PretrainedConfig`. From the hub come safetensors, JSON and tokenizer files, nothing else."""

    def __init__(self, config: PretrainedConfig, *, base_dir: Path) -> None:
        self._config = config
        self._base_dir = base_dir

    def materialize(self, cache_dir: Path) -> ModelRef:
        """The model on this machine. ModelError if it is missing or cannot be fetched.

        Hub models go to the Hugging Face cache that other tools on this machine share, not to
        `cache_dir`; the path that comes back names the commit.
        """
        from rft_torch.models import check_folder

        path = self._folder()
        check_folder(path)
        device = resolve_device(self._config.device)
        return ModelRef(path=path, device=device, dtype=resolve_dtype(self._config.dtype, device))

    def _folder(self) -> Path:
        given = self._config.path
        local = (self._base_dir / Path(given).expanduser()).resolve()
        if local.is_dir():
            return local
        if given.startswith((".", "/", "~")) or not HUB_ID.fullmatch(given):
            raise ModelError(
                f"there is no model folder {local}; set model.path to a folder or to a hub id such as Qwen/Qwen3-0.6B"
            )
        return self._download(given)

    def _download(self, repo_id: str) -> Path:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        what = f"the model '{repo_id}'" + (f" at revision '{self._config.revision}'" if self._config.revision else "")
        try:
            folder = snapshot_download(
                repo_id,
                revision=self._config.revision,
                allow_patterns=list(HUB_FILES),
                ignore_patterns=list(HUB_DOUBLES),
            )
            return Path(folder)
        except GatedRepoError as error:
            raise ModelError(f"{what} is gated; accept its terms on the hub and log in with `hf auth login`") from error
        except RevisionNotFoundError as error:
            raise ModelError(f"{what} has no such revision on the hub; check model.revision") from error
        except RepositoryNotFoundError as error:
            raise ModelError(
                f"{what} is neither a folder here nor a repository on the hub; check model.path"
            ) from error
        except (HfHubHTTPError, OSError, ValueError) as error:
            raise disk_error(error, what) or ModelError(
                f"{what} is not a folder under {self._base_dir} and cannot be fetched from the hub ({type(error).__name__}); "
                "go online, or set model.path to a folder"
            ) from error


def build_source(config: PretrainedConfig, context: BuildContext) -> PretrainedSource:
    return PretrainedSource(config, base_dir=context.base_dir)


def resolve_device(device: str) -> str:
    """`auto` is cuda where torch sees one, else cpu. ModelError for cuda where there is none."""
    import torch

    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise ModelError("model.device is 'cuda', but torch sees no CUDA device here; set it to cpu or auto")
    if device == "auto":
        return "cuda" if available else "cpu"
    return device


def resolve_dtype(dtype: str, device: str) -> str:
    """`auto` is bfloat16 on cuda and float32 on cpu, where half precision is slow and not reproducible."""
    if dtype != "auto":
        return dtype
    return "bfloat16" if device.startswith("cuda") else "float32"
