"""Settings that cannot work in their run, refused before anything is loaded."""

from __future__ import annotations

from rft_core.errors import ConfigError
from rft_core.specs import BuildContext
from rft_core.types import SamplingParams
from rft_optimizer_policy_gradient.config import PolicyGradientConfig
from rft_optimizer_policy_gradient.parts import Parts
from rft_torch.packages import check_packages

WHERE = "optimizer.kl.reference"


def check(config: PolicyGradientConfig, context: BuildContext) -> None:
    """ConfigError for the first that is found."""
    sampling = context.sampling or SamplingParams()
    check_packages(config)
    if config.critic is not None:
        check_packages(config.critic, "optimizer.critic")
    _check_sampling(config, sampling)
    _check_overlong(config, sampling)
    _check_reference(config, context)


def _check_sampling(config: PolicyGradientConfig, sampling: SamplingParams) -> None:
    if sampling.temperature == 0.0:
        raise ConfigError(
            "policy_gradient learns from rollouts that differ, and greedy decoding makes them all the same; set it above 0",
            where="sampling.temperature",
        )
    if sampling.top_p == 1.0:
        return
    if config.old_logprobs == "sampler":
        raise ConfigError(
            "ratios against the sampler's log-probabilities need sampling.top_p: 1; use auto or trainer",
            where="optimizer.old_logprobs",
        )
    if config.correction is not None or config.max_logprob_diff is not None:
        where = "correction" if config.correction is not None else "max_logprob_diff"
        raise ConfigError(
            "with sampling.top_p below 1 the sampler's log-probabilities are those of the nucleus, which the trainer does "
            f"not rebuild, so the two cannot be compared; set sampling.top_p: 1, or drop {where}",
            where=f"optimizer.{where}",
        )


def _check_overlong(config: PolicyGradientConfig, sampling: SamplingParams) -> None:
    overlong = config.overlong
    if overlong is not None and overlong.buffer_tokens >= sampling.max_tokens:
        raise ConfigError(
            f"answers have at most sampling.max_tokens: {sampling.max_tokens}, so a penalty over the last "
            f"{overlong.buffer_tokens} tokens falls on all of them; take fewer",
            where="optimizer.overlong.buffer_tokens",
        )


def _check_reference(config: PolicyGradientConfig, context: BuildContext) -> None:
    advantage = Parts.of(config, context).advantage
    reference = config.kl.reference
    if reference is not None:
        if config.kl.weight == 0 and advantage.reads != "teacher":
            raise ConfigError("a reference has no effect while kl.weight is 0; set a weight, or drop it", where=WHERE)
    elif advantage.reads == "teacher":
        raise ConfigError(
            f"the advantage '{advantage.name}' needs a teacher; set kl.reference to the folder of a model", where=WHERE
        )
