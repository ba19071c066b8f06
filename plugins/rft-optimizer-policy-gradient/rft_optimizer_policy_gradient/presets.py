"""The algorithms by name: which parts each is made of. A preset is a part of role `preset`, so that plugins add
their own.

Learning rates, group sizes and the weight of KL are the run's own affair and in none of them.
"""

from __future__ import annotations

from typing import Any

Preset = dict[str, Any]


def grpo() -> Preset:
    """arXiv 2402.03300."""
    return {
        "advantage": {"type": "group_normalized"},
        "objective": {"type": "clip"},
        "aggregation": {"type": "sequence"},
    }


def dr_grpo() -> Preset:
    """arXiv 2503.20783."""
    return {"advantage": {"type": "group_mean"}, "objective": {"type": "clip"}, "aggregation": {"type": "constant"}}


def bnpo() -> Preset:
    """GRPO with every token weighing the same, as TRL's loss of that name."""
    return {"advantage": {"type": "group_normalized"}, "objective": {"type": "clip"}, "aggregation": {"type": "token"}}


def dapo() -> Preset:
    """arXiv 2503.14476; its resampling is `training.resample`, its length penalty `overlong`."""
    return {
        "advantage": {"type": "group_normalized"},
        "objective": {"type": "clip", "low": 0.2, "high": 0.28},
        "aggregation": {"type": "token"},
        "zero_variance": "drop",
    }


def gspo() -> Preset:
    """arXiv 2507.18071, with the clip range of its section 5.1."""
    return {
        "advantage": {"type": "group_normalized"},
        "ratio": {"type": "sequence"},
        "objective": {"type": "clip", "low": 3e-4, "high": 4e-4},
        "aggregation": {"type": "sequence"},
        "old_logprobs": "trainer",
    }


def cispo() -> Preset:
    """arXiv 2506.13585."""
    return {"advantage": {"type": "group_normalized"}, "objective": {"type": "cispo"}, "aggregation": {"type": "token"}}


def sapo() -> Preset:
    """arXiv 2511.20347."""
    return {
        "advantage": {"type": "group_normalized"},
        "objective": {"type": "sapo"},
        "aggregation": {"type": "sequence"},
    }


def rloo() -> Preset:
    """arXiv 2402.14740, with the clipped sequence ratio of TRL's trainer."""
    return {
        "advantage": {"type": "leave_one_out"},
        "ratio": {"type": "sequence_product"},
        "objective": {"type": "clip"},
        "aggregation": {"type": "sequence"},
        "old_logprobs": "trainer",
    }


def reinforce() -> Preset:
    """The plain policy gradient with the group's mean as its baseline."""
    return {"advantage": {"type": "group_mean"}, "objective": {"type": "reinforce"}, "aggregation": {"type": "token"}}


def reinforce_pp() -> Preset:
    """arXiv 2501.03262: no groups needed."""
    return {
        "advantage": {"type": "batch_normalized"},
        "objective": {"type": "clip"},
        "aggregation": {"type": "token"},
        "kl": {"estimator": {"type": "k1"}, "in_reward": True},
    }


def reinforce_pp_baseline() -> Preset:
    """arXiv 2501.03262, the form with the group's mean as baseline."""
    return {
        "advantage": {"type": "group_mean_batch_normalized"},
        "objective": {"type": "clip"},
        "aggregation": {"type": "token"},
        "kl": {"estimator": {"type": "k2"}},
    }


def ppo() -> Preset:
    """arXiv 1707.06347 with a critic, as in arXiv 2203.02155."""
    return {
        "advantage": {"type": "gae"},
        "objective": {"type": "clip"},
        "aggregation": {"type": "token"},
        "critic": {},
        "kl": {"estimator": {"type": "k1"}, "in_reward": True},
    }


def maxrl() -> Preset:
    """arXiv 2602.02710."""
    return {"advantage": {"type": "mean_normalized"}, "objective": {"type": "clip"}, "aggregation": {"type": "token"}}


def gdpo() -> Preset:
    """arXiv 2601.05242: GRPO with each grader normalised by itself."""
    return {
        "advantage": {"type": "per_grader_normalized"},
        "objective": {"type": "clip"},
        "aggregation": {"type": "sequence"},
    }


def best_of_n() -> Preset:
    """Supervised fine-tuning on the best rollout of each group: arXiv 2304.06767."""
    return {"advantage": {"type": "best"}, "objective": {"type": "reinforce"}, "aggregation": {"type": "token"}}


def distillation() -> Preset:
    """Per-token reverse KL to a teacher, `kl.reference`, on the policy's own rollouts: arXiv 2306.13649."""
    return {"advantage": {"type": "distillation"}, "objective": {"type": "reinforce"}, "aggregation": {"type": "token"}}


SUMMARIES = {
    grpo: "group-normalised advantages, clipped token ratio, every rollout the same",
    dr_grpo: "GRPO without its two biases: no division by the deviation, a constant length",
    bnpo: "GRPO with every token weighing the same",
    dapo: "GRPO with a higher upper clip, every token the same, groups without variance left out",
    gspo: "GRPO on the ratio of whole sequences",
    cispo: "clipped importance weights: every token keeps a gradient",
    sapo: "a soft gate in place of the clip",
    rloo: "leave-one-out baseline, the whole rollout as one action",
    reinforce: "the plain policy gradient with the group's mean as baseline",
    reinforce_pp: "REINFORCE++: normalised over the batch, KL in the reward, groups of one will do",
    reinforce_pp_baseline: "REINFORCE++ with the group's mean as baseline, KL in the loss",
    ppo: "a critic and generalised advantage estimation, KL in the reward",
    maxrl: "divided by the success rate: follows the likelihood of success",
    gdpo: "each grader of a multi grader normalised by itself",
    best_of_n: "supervised fine-tuning on the best rollout of each group",
    distillation: "towards a teacher's log-probabilities, token by token",
}
