"""LoRA (arXiv 2106.09685) by peft, injected in place: the model object and its class stay the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from rft_core.errors import ConfigError, nearest
from rft_core.specs import ComponentConfig
from rft_torch.models import quiet
from rft_torch.scalar import is_scalar, named_head

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ALL_LINEAR: Final = "all-linear"


def _names(targets: object) -> object:
    """One name is a list of one."""
    names = [targets] if isinstance(targets, str) else targets
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"give the names of modules, such as [q_proj, v_proj], or {ALL_LINEAR}")
    return ALL_LINEAR if list(names) == [ALL_LINEAR] else names


class LoraSettings(ComponentConfig):
    """Train a low-rank adapter in place of the model's own weights."""

    rank: int = Field(16, ge=1, description="Rank of the update.")
    alpha: float = Field(32.0, gt=0, description="Scale: the update is multiplied by alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the adapter while training.")
    targets: Annotated[Literal["all-linear"] | tuple[str, ...], BeforeValidator(_names)] = Field(
        ALL_LINEAR,
        description="Modules to adapt: all linear layers but the output layer, or names such as [q_proj, v_proj].",
    )
    dora: bool = Field(
        False, description="DoRA (arXiv 2402.09353): the adapter turns the weights and learns their lengths apart."
    )
    quantize: Literal["4bit"] | None = Field(
        None,
        description="4bit: QLoRA (arXiv 2305.14314), the frozen weights as NF4 by bitsandbytes, which must be installed.",
    )


@quiet()  # because of what peft imports
def add_lora(model: PreTrainedModel, settings: LoraSettings, *, seed: int, base_path: str, where: str = "lora") -> None:
    """Inject a fresh adapter whose update is exactly zero (B = 0; A drawn from `seed`).

    ConfigError, at the settings' key path `where`, if a name in `targets` is that of no module, or of one that LoRA
    cannot adapt.
    """
    import torch
    from peft import LoraConfig

    targets = settings.targets if isinstance(settings.targets, str) else sorted(settings.targets)
    if not isinstance(targets, str):
        _check_targets(model, targets, f"{where}.targets")
    scalar = is_scalar(model)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        use_dora=settings.dora,
        target_modules=targets,
        task_type="SEQ_CLS" if scalar else "CAUSAL_LM",
        modules_to_save=[named_head(model)[0]] if scalar else None,
        base_model_name_or_path=base_path,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            inject(model, config, trainable=True)
        except ValueError as error:
            raise ConfigError(f"the adapter does not fit the model: {error}", where=f"{where}.targets") from error


def check_same_lora(model: PreTrainedModel, settings: LoraSettings | None, *, where: str = "lora") -> None:
    """ConfigError, at `where`, unless `settings` describe the adapter that the model came with: a run goes on with an
    adapter as it is, and cannot give it another shape. `quantize` may change: it is about the frozen weights."""
    found: Any = model.peft_config["default"]
    shape = f"rank {found.r}, alpha {found.lora_alpha:g}, dropout {found.lora_dropout:g}{', DoRA' * found.use_dora}"
    if settings is None:
        raise ConfigError(
            f"the run starts from a LoRA adapter ({shape}), but the optimizer trains all weights; "
            "give it the same lora, or start from a model that `rft-engine export --merge` wrote",
            where=where,
        )
    wanted = (settings.rank, settings.alpha, settings.dropout, settings.dora)
    targets = settings.targets if isinstance(settings.targets, str) else set(settings.targets)
    if wanted != (found.r, found.lora_alpha, found.lora_dropout, found.use_dora) or (
        targets != "all-linear" and targets != set(found.target_modules)
    ):
        raise ConfigError(
            f"the run starts from a LoRA adapter ({shape}, targets {', '.join(sorted(found.target_modules))}), "
            f"but other settings are asked for; make them agree, or start from a model that `rft-engine export --merge` wrote",
            where=where,
        )


def inject(model: PreTrainedModel, config: Any, *, trainable: bool) -> None:
    """Inject the adapter `config` describes; its parameters are float32 and the only trainable ones.

    Modules to save whole (a scalar head) are trained as they are: peft would keep a second copy of each.
    ValueError, from peft, if the adapter does not fit.
    """
    import torch
    from peft import inject_adapter_in_model

    whole = config.modules_to_save
    config.modules_to_save = None
    model.requires_grad_(False)
    inject_adapter_in_model(config, model)
    config.modules_to_save = whole
    for name, parameter in model.named_parameters():
        if in_adapter(name, whole):
            parameter.data = parameter.data.to(torch.float32)
            parameter.requires_grad_(trainable)
    model.eval()


@contextmanager
def adapter_off(model: PreTrainedModel) -> Iterator[None]:
    """Compute with the base weights alone. What requires gradients stays as it was."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def in_adapter(name: str, whole: Iterable[str] | None) -> bool:
    """Whether a parameter is the adapter's, or of a module that is trained whole beside it."""
    return "lora_" in name or name.rpartition(".")[0] in (whole or ())


def _check_targets(model: PreTrainedModel, targets: list[str], where: str) -> None:
    """Every target is the name of a module or the end of one; peft is content if one of them is. And what it names
    are matrices."""
    modules = dict(model.named_modules())
    leaves = {name.rpartition(".")[2] for name, module in modules.items() if _is_matrix(module)}
    problems = []
    for target in targets:
        named = [module for name, module in modules.items() if f".{name}".endswith(f".{target}")]
        other = next((module for module in named if not _is_matrix(module)), None)
        if not named:
            problems.append(f"the model has no module named '{target}'{nearest(target, leaves)}")
        elif other is not None:
            problems.append(
                f"LoRA cannot adapt '{target}', a {type(other).__name__}; choose from {', '.join(sorted(leaves))}"
            )
    if problems:
        raise ConfigError("; ".join(problems), where=where)


def _is_matrix(module: Any) -> bool:
    """Whether LoRA can adapt it: a linear layer, an embedding, a convolution."""
    weight = getattr(module, "weight", None)
    return weight is not None and weight.ndim >= 2


def merge(model: PreTrainedModel) -> None:
    """Add the adapter's update to the base weights and take the adapter out, in place."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, module.get_base_layer())
    del model.peft_config
