"""Grades a ranked list of genes by where the causal gene stands in it."""

from __future__ import annotations

from typing import Any

LISTED = 5


def grade(sample: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    """1 for the first place, then 1/2, 1/3, 1/4, 1/5; 0 if the gene is not there, or if more than five
    names are given. A name given again wastes its place. `top1` and `top5` reach the tables."""
    genes = [name.strip() for name in sample["output_text"].split(",")]
    rank = genes.index(item["gene"]) + 1 if item["gene"] in genes and len(genes) <= LISTED else None
    return {
        "score": 1.0 / rank if rank else 0.0,
        "sub_rewards": {"top1": float(rank == 1), "top5": float(rank is not None)},
    }
