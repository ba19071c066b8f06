"""The distribution a token is drawn from, and the draw.

Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor


def log_distribution(logits_BV: Tensor, *, temperature: float, top_p: float) -> Tensor:
    """Log-probabilities in nats, float32 of shape (B, V), of exactly the distribution sampled from.

    log softmax(logits / temperature), then the nucleus of arXiv 1904.09751: the smallest set of most
    probable tokens that holds at least the mass `top_p`, renormalised; the others are −inf. Of tokens
    with equal probability at the edge the lower index is kept. The sort is skipped when top_p is 1.

    Temperature 0 (greedy) gives the distribution at temperature 1 and ignores `top_p`: the token is
    then no draw, and its log-probability under the plain policy is what a trainer can compare with.
    """
    scale = temperature if temperature > 0 else 1.0
    logits_BV = logits_BV.float()
    if scale != 1.0:
        logits_BV = logits_BV / scale
    logp_BV = logits_BV.log_softmax(-1)
    return logp_BV if temperature == 0 or top_p >= 1.0 else _nucleus(logp_BV, top_p)


def _nucleus(logp_BV: Tensor, top_p: float) -> Tensor:
    sorted_BV, order_BV = logp_BV.sort(dim=-1, descending=True, stable=True)
    mass_BV = sorted_BV.exp().cumsum(-1, dtype=torch.float64)
    # A token stays if the mass before it has not reached top_p: the first one always stays.
    keep_BV = torch.ones_like(order_BV, dtype=torch.bool)
    keep_BV[:, 1:] = mass_BV[:, :-1] < top_p
    kept_B1 = keep_BV.sum(-1, keepdim=True)
    log_mass_B1 = mass_BV.gather(-1, kept_B1 - 1).log().float()
    masked_BV = (sorted_BV - log_mass_B1).masked_fill(~keep_BV, -torch.inf)
    return torch.empty_like(masked_BV).scatter_(-1, order_BV, masked_BV)


def choose(logp_BV: Tensor, uniform_B: Tensor | None) -> Tensor:
    """One token per row, int64 of shape (B,): the inverse of the cumulative distribution at `uniform_B`
    (float64 in [0, 1)), or the most probable token, the lowest index among equals, if that is None.

    The token is the first whose cumulated probability exceeds u times the total, so one of
    probability 0 is never chosen. Sums are float64. Where the distribution is not finite it is the last one, whose
    log-probability is not finite either.
    """
    if uniform_B is None:
        return logp_BV.argmax(-1)
    cdf_BV = logp_BV.exp().cumsum(-1, dtype=torch.float64)
    threshold_B1 = uniform_B[:, None] * cdf_BV[:, -1:]
    return torch.searchsorted(cdf_BV, threshold_B1, right=True).squeeze(-1).clamp_(max=cdf_BV.shape[1] - 1)
