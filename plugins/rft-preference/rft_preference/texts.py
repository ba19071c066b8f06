"""The texts and the margin of a pair, without torch. Every DataError has the row's key."""

from __future__ import annotations

import math

from rft_core.errors import DataError, MissingVariableError
from rft_core.template import render
from rft_core.types import Item
from rft_preference.completions import completion_of
from rft_preference.config import PairsConfig


def check_pair(config: PairsConfig, item: Item) -> None:
    """DataError for a row that cannot be a pair, as far as its texts tell."""
    pair_texts(item, config)
    margin_of(item, getattr(config, "margin", None))


def pair_texts(item: Item, config: PairsConfig) -> dict[str, str]:
    """`chosen` and `rejected`, which differ. The rejected one may be empty."""
    texts = {side: _text(item, side, template) for side, template in config.templates.items()}
    if texts["chosen"] == texts["rejected"]:
        raise DataError(f"both completions of row {item.key} are the same text; remove the row: it prefers nothing")
    if not texts["chosen"]:
        raise DataError(f"the chosen completion of row {item.key} is empty; write one, or remove the row")
    return texts


def _text(item: Item, side: str, template: str) -> str:
    try:
        return completion_of(template, item.row)
    except MissingVariableError as error:
        raise DataError(
            f"row {item.key} has no {side} completion: {error}; add the key to the row or change optimizer.{side}"
        ) from error
    except DataError as error:
        raise DataError(f"the {side} completion of row {item.key} {error}") from error


def margin_of(item: Item, template: str | None) -> float:
    """By how much the chosen completion is better; 0 without a template."""
    if template is None:
        return 0.0
    try:
        margin = float(render(template, {"item": item.row}))
    except MissingVariableError as error:
        raise DataError(f"row {item.key} has no margin: {error}; add the key or change optimizer.margin") from error
    except ValueError:
        margin = math.nan
    if not math.isfinite(margin):
        raise DataError(f"the margin of row {item.key} is not a number; write one, or leave optimizer.margin out")
    return margin
