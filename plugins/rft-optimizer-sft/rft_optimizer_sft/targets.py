"""The text that a row is to teach, without torch."""

from __future__ import annotations

from rft_core.errors import DataError, MissingVariableError
from rft_core.template import Variable, compile_template
from rft_core.types import Item


def target_of(item: Item, template: str) -> str:
    """The template filled in with the row. DataError, with the item's key, for a value that is missing, for a target
    without text, and for one that is a null and nothing else: a template would write the word."""
    compiled, namespaces = compile_template(template), {"item": item.row}
    try:
        text = compiled.render(namespaces)
    except MissingVariableError as error:
        raise DataError(
            f"row {item.key} has no target: {error}; add the key to the row or change optimizer.target"
        ) from error
    said = [part for part in compiled.parts if not isinstance(part, str) or part.strip()]
    if len(said) == 1 and isinstance(said[0], Variable) and said[0].find(namespaces) is None:
        raise DataError(f"the target of row {item.key} is null; write one, or remove the row")
    if not text:
        raise DataError(f"the target of row {item.key} is empty; write one, or remove the row")
    return text
