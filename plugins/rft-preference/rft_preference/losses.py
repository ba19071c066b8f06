"""The losses of pairs, one number per pair.

Legend: P pairs. Log-probabilities are sums over a completion's tokens, in nats.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn.functional import logsigmoid

DpoLoss = Literal["sigmoid", "hinge", "ipo"]


def dpo_loss(ratio_P: Tensor, *, beta: float, kind: DpoLoss = "sigmoid", label_smoothing: float = 0.0) -> Tensor:
    """loss_P of h = log π(chosen) / π_ref(chosen) − log π(rejected) / π_ref(rejected), which is `ratio_P`:

        sigmoid   −(1 − ε) log σ(β h) − ε log σ(−β h)    DPO, arXiv 2305.18290 eq. 7; ε > 0: conservative DPO,
                                                        https://ericmitchell.ai/cdpo.pdf
        hinge     max(0, 1 − β h)                       SLiC on DPO's reward, arXiv 2305.10425
        ipo       (h − 1 / (2β))²                       IPO, arXiv 2310.12036 eq. 17, with τ = β

    For ipo, h is of the two means per token rather than of the sums: so its authors told the makers of TRL that their
    experiments had it (https://github.com/huggingface/trl, dpo_trainer.py), and so a β fits completions of any length.
    At h = 0, as before the first update, sigmoid is log 2, hinge 1 and ipo 1 / (4β²).
    """
    if kind == "hinge":
        return (1 - beta * ratio_P).clamp(min=0)
    if kind == "ipo":
        return (ratio_P - 1 / (2 * beta)) ** 2
    logit_P = beta * ratio_P
    return -(1 - label_smoothing) * logsigmoid(logit_P) - label_smoothing * logsigmoid(-logit_P)


def bradley_terry(chosen_P: Tensor, rejected_P: Tensor, margin_P: Tensor, *, center: float = 0.0) -> Tensor:
    """loss_P = −log σ(r_chosen − r_rejected − margin) + center · (r_chosen + r_rejected)²

    The first term is eq. 1 of arXiv 2203.02155 for one pair, with the margin of arXiv 2307.09288 (section 3.2.2).
    It knows differences alone: the second (arXiv 2312.09244, section 4) settles where rewards lie, around 0.
    """
    loss_P = -logsigmoid(chosen_P - rejected_P - margin_P)
    return loss_P if center == 0.0 else loss_P + center * (chosen_P + rejected_P) ** 2
