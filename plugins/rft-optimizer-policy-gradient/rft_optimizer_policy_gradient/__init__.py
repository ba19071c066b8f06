"""Policy-gradient optimizer, assembled from named parts; GRPO and its relatives are presets over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rft_core.hookspecs import hookimpl
from rft_core.specs import BuildContext, NoSettings, OptimizerPartSpec, OptimizerSpec, Reads
from rft_optimizer_policy_gradient import aggregation, correction, kl, presets, ratios
from rft_optimizer_policy_gradient.advantages import (
    batch,
    best,
    distillation,
    gae,
    group,
    leave_one_out,
    mean_normalized,
    per_grader,
    raw,
)
from rft_optimizer_policy_gradient.checks import check
from rft_optimizer_policy_gradient.config import PolicyGradientConfig, models_of, parts_of
from rft_optimizer_policy_gradient.objectives import cispo, clip, reinforce, sapo

if TYPE_CHECKING:
    from rft_core.protocols import Optimizer

PARTS: tuple[tuple[str, Any, type, str], ...] = (
    ("advantage", group.group_normalized, group.GroupNormalizedSettings, "(r - mean) / std of the group (GRPO)"),
    ("advantage", group.group_mean, NoSettings, "r - mean of the group (Dr. GRPO)"),
    ("advantage", leave_one_out.leave_one_out, NoSettings, "r - mean of the others of the group (RLOO)"),
    ("advantage", mean_normalized.mean_normalized, NoSettings, "(r - mean) / mean of the group (MaxRL)"),
    ("advantage", batch.batch_normalized, batch.BatchNormalizedSettings, "normalised over the batch (REINFORCE++)"),
    (
        "advantage",
        batch.group_mean_batch_normalized,
        batch.BatchNormalizedSettings,
        "r - mean of the group, normalised over the batch (REINFORCE++ baseline)",
    ),
    (
        "advantage",
        per_grader.per_grader_normalized,
        per_grader.PerGraderSettings,
        "each grader normalised by itself, then added (GDPO)",
    ),
    ("advantage", gae.gae, gae.GaeSettings, "generalised advantage estimation with a critic (PPO)"),
    ("advantage", best.best, best.BestSettings, "1 for the best of the group, 0 for the others (best-of-n)"),
    ("advantage", distillation.distillation, distillation.DistillationSettings, "the gap to a teacher, token by token"),
    ("advantage", raw.raw, NoSettings, "the reward itself (REINFORCE)"),
    ("ratio", ratios.token, NoSettings, "each token for itself"),
    ("ratio", ratios.sequence, NoSettings, "the geometric mean over the rollout (GSPO)"),
    ("ratio", ratios.sequence_product, NoSettings, "the ratio of the whole rollout (RLOO)"),
    ("objective", clip.clip, clip.ClipSettings, "PPO's clipped ratio, with two bounds (DAPO) or three (dual clip)"),
    ("objective", cispo.cispo, cispo.CispoSettings, "bounded importance weights without gradient (CISPO)"),
    ("objective", sapo.sapo, sapo.SapoSettings, "a soft gate around ratio 1 (SAPO)"),
    ("objective", reinforce.reinforce, NoSettings, "advantage times log-probability"),
    ("aggregation", aggregation.token, NoSettings, "every token weighs the same"),
    ("aggregation", aggregation.group_token, NoSettings, "every group the same, in it every token (DAPO as written)"),
    ("aggregation", aggregation.sequence, NoSettings, "every rollout weighs the same (GRPO)"),
    ("aggregation", aggregation.constant, aggregation.ConstantSettings, "a fixed length (Dr. GRPO)"),
    ("kl", kl.k1, NoSettings, "log-ratio: unbiased, for the reward"),
    ("kl", kl.k2, NoSettings, "half the squared log-ratio: the right gradient in the loss"),
    ("kl", kl.k3, NoSettings, "unbiased and never negative (GRPO)"),
    ("correction", correction.truncated, correction.TruncatedSettings, "importance weights up to a bound (TIS)"),
    ("correction", correction.masked, correction.MaskedSettings, "importance weights outside a range count 0 (MIS)"),
)


COMPARE_A_GROUP = (
    group.group_normalized,
    group.group_mean,
    leave_one_out.leave_one_out,
    mean_normalized.mean_normalized,
    batch.group_mean_batch_normalized,
    per_grader.per_grader_normalized,
    best.best,
)
"""Advantages that need two rollouts of a prompt."""
READS: Mapping[Any, Reads] = {per_grader.per_grader_normalized: "sub_rewards", distillation.distillation: "teacher"}
"""Advantages that look at more than rewards."""


@hookimpl
def rft_optimizers() -> Iterable[OptimizerSpec]:
    """The optimizer `policy_gradient`."""
    yield OptimizerSpec(
        name="policy_gradient",
        config=PolicyGradientConfig,
        build=_build,
        summary="Learn from the rollouts that did better than others: GRPO, PPO and their relatives, by name or by part",
        needs="rollouts",
        measures_loss=False,
        preset=("algorithm", "grpo"),
        parts=parts_of,
        models=models_of,
        check=check,
    )


@hookimpl
def rft_optimizer_parts() -> Iterable[OptimizerPartSpec]:
    """What the optimizer is made of, and the presets over it."""
    for role, function, config, summary in PARTS:
        yield OptimizerPartSpec(
            name=function.__name__,
            role=role,
            function=function,
            summary=summary,
            config=config,
            min_group_size=2 if function in COMPARE_A_GROUP else 1,
            reads=READS.get(function, "rewards"),
        )
    for preset, summary in presets.SUMMARIES.items():
        yield OptimizerPartSpec(name=preset.__name__, role="preset", function=preset, summary=summary)


def _build(config: PolicyGradientConfig, context: BuildContext) -> Optimizer:
    from rft_optimizer_policy_gradient.optimizer import PolicyGradient

    return PolicyGradient(config, context)
