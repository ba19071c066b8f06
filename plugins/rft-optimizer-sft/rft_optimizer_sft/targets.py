"""The text that a row is to teach, without torch."""

from __future__ import annotations

from rft_core.errors import DataError, MissingVariableError
from rft_core.template import lookup, render, variables
from rft_core.types import Item


def target_of(item: Item, template: str) -> str:
    """The template filled in with the row. DataError, with the item's key, for a value that is missing or null, which a
    template would write as a word, and for a target without text."""
    namespaces = {"item": item.row}
    try:
        text = render(template, namespaces)
    except MissingVariableError as error:
        raise DataError(
            f"row {item.key} has no target: {error}; add the key to the row or change optimizer.target"
        ) from error
    if null := next((name for name in variables(template) if lookup(name, namespaces) is None), None):
        raise DataError(
            f"the target of row {item.key} names {{{{{null}}}}}, which is null; write a value, or remove the row"
        )
    if not text:
        raise DataError(f"the target of row {item.key} is empty; write one, or remove the row")
    return text
