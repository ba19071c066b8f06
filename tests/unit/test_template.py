"""Templates: two namespaces, substitution, nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft_core.errors import ConfigError, MissingVariableError
from rft_core.template import compile_template, lookup, render, variables

ITEM = {
    "answer": "42",
    "a": {"b": [{"c": 1}, "x"]},
    "flag": True,
    "one": 1.0,
    "none": None,
    "a-b": "dash",
    "odd key": "odd",
    "größe": "ä",
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        ("{{item.answer}}", "42"),
        ("{{ item.answer }} and {{item.answer}}", "42 and 42"),
        ("{{item.a.b[0].c}}", "1"),
        ("{{item.a.b}}", '[{"c": 1}, "x"]'),
        ("{{item.flag}} {{item.one}} {{item.none}}", "true 1.0 null"),
        ("{{item.a-b}} {{item['odd key']}} {{item[\"odd key\"]}} {{item.größe}}", "dash odd odd ä"),
        ('{"x": {{{item.answer}}}}', '{"x": {42}}'),
        ("} { }} {", "} { }} {"),
    ],
)
def test_variables_become_text(template: str, expected: str) -> None:
    """Strings are inserted verbatim, other values as JSON, and everything around them stays as it is."""
    assert render(template, {"item": ITEM}) == expected


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{x}}", "must start with 'item.'"),
        ("{{ answer }}", "must start with 'item.'"),
        ("{{row.answer}}", "must start with 'item.'"),
        ("{{item}}", "whole namespace"),
        ("{{item.}}", "cannot be read"),
        ("{{item..a}}", "cannot be read"),
        ("{{item.a[b]}}", "cannot be read"),
        ("{{item.a[-1]}}", "cannot be read"),
        ("{{item.a | upper}}", "cannot be read"),
        ("{{item.a + 1}}", "cannot be read"),
        ("{{item.a()}}", "cannot be read"),
        ("{{}}", "must start with 'item.'"),
        ("{{item.a", "closes"),
        ("{{sample.text}}", "a sample has no 'text'"),
        ("{{sample.output_txt}}", "did you mean 'output_text'"),
        ("{{sample.output_text.x}}", "never has a value"),
    ],
)
def test_what_is_no_variable_is_refused_when_compiled(template: str, says: str) -> None:
    """A template that means nothing, or wants to compute, is a ConfigError before any data is seen."""
    with pytest.raises(ConfigError, match=says.replace("(", r"\(")):
        compile_template(template)


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("item.missing", "item has no 'missing'"),
        ("item.a.b[2]", "item.a.b has 2 entries"),
        ("item.answer.deeper", "item.answer is a string"),
        ("item.a[0]", "item.a is an object"),
        ("item.a.b.c", "item.a.b is a list"),
        ("item.none.x", "item.none is null"),
        ("sample.output_text", "has no 'sample'"),
    ],
)
def test_missing_variables_say_where_the_path_ends(variable: str, says: str) -> None:
    """A variable without a value is a MissingVariableError, also a LookupError, that names the variable."""
    with pytest.raises(MissingVariableError) as caught:
        render(f"{{{{{variable}}}}}", {"item": ITEM})
    assert says in str(caught.value)
    assert caught.value.variable == variable
    assert isinstance(caught.value, LookupError)


def test_variables_are_listed_once_in_normal_form() -> None:
    """`variables` gives each name once, in order of first use, however it is spaced."""
    assert variables("{{ sample.output_text }} {{item.b[0] }} {{item.b[0]}} {{item['x y']}}") == (
        "sample.output_text",
        "item.b[0]",
        'item["x y"]',
    )


def test_lookup_gives_the_value_itself() -> None:
    """`lookup` returns the JSON value, not its text."""
    assert lookup("item.a.b[0]", {"item": ITEM}) == {"c": 1}


@given(st.text())
def test_inserted_text_is_never_expanded(text: str) -> None:
    """Whatever a row holds, braces included, comes out unchanged."""
    assert render("<{{item.x}}>", {"item": {"x": text, "answer": "secret"}}) == f"<{text}>"
    hostile = "{{item.answer}}" + text
    assert render("{{item.x}}", {"item": {"x": hostile, "answer": "secret"}}) == hostile


@given(st.text(alphabet="{}item.saple[0]'\" _x"))
def test_any_template_compiles_or_is_a_config_error(template: str) -> None:
    """No text makes the parser fail in another way."""
    try:
        compiled = compile_template(template)
    except ConfigError:
        return
    if not compiled.variables:
        assert compiled.render({}) == template
