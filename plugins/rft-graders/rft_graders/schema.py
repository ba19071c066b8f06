"""json_schema: whether a text is JSON that a schema describes.

Text that is not strict JSON is the sample's own fault (`sample_parse_error`, 0). Otherwise 1 if it is
valid and 0 if not, or with `partial` the share of the schema's top-level properties that are as they
should be: valid where they are there, and there where they are required. A value that breaks the
schema at its top in another way, such as by an unknown key, counts as one property more.

Patterns in the schema run in linear time, and nothing is ever fetched. Source: https://json-schema.org
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import jsonschema_rs

from rft_core import strict_json
from rft_core.errors import DataError
from rft_core.types import Grade, Json
from rft_graders.format_config import JsonSchemaConfig
from rft_graders.texts import RIGHT, WRONG, TextGrader


def json_schema(config: JsonSchemaConfig) -> TextGrader:
    check, schema = validator(config.schema_), config.schema_

    def judge(text: str, _: str) -> Grade:
        try:
            value = strict_json.loads(text)
        except DataError as error:
            return Grade.invalid(f"the text is not JSON: {error}")
        if check.is_valid(value):
            return RIGHT
        return Grade.score(_share(check, schema, value)) if config.partial else WRONG

    return TextGrader(judge, config.input)


def validator(schema: Mapping[str, Any]) -> Any:
    """The compiled schema. ValueError for one that is no schema, or that points outside itself."""
    try:
        return jsonschema_rs.validator_for(
            dict(schema), retriever=_nothing, pattern_options=jsonschema_rs.RegexOptions()
        )
    except jsonschema_rs.ValidationError as error:
        place = "".join(f"[{part!r}]" for part in error.instance_path)
        raise ValueError(f"the schema{place} is not valid: {error.message}") from None


def _nothing(uri: str) -> NoReturn:
    raise ValueError("schemas are not fetched; put the part under $defs")


def _share(check: Any, schema: Mapping[str, Any], value: Json) -> float:
    """Of a value that is not valid: below 1."""
    properties = set(schema["properties"])
    if not isinstance(value, dict):
        return 0.0
    wrong, whole = set(), 0
    for error in check.iter_errors(value):
        name = error.instance_path[0] if error.instance_path else getattr(error.kind, "property", None)
        if name in properties:
            wrong.add(name)
        else:
            whole = 1
    return (len(properties) - len(wrong)) / (len(properties) + whole)
