"""From messages to prompt tokens by `rft_torch`, and the tokens that end a completion."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import EOS, make_model

from rft_core.errors import DataError
from rft_core.types import ModelRef
from rft_torch.models import encode_completion, encode_prompt, eos_ids, load_model, load_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


def test_prompts_without_and_with_a_template(folder: Path) -> None:
    """No template: contents by line. A template: with the opening of the answer, and `system` for a refused `developer`."""
    tokenizer = load_tokenizer(folder)
    messages = [
        {"role": "developer", "content": "abc"},
        {"role": "user", "content": [{"type": "text", "text": "1+2="}]},
    ]
    assert encode_prompt(tokenizer, [messages[1]]) == tokenizer("1+2=")["input_ids"]
    assert len(encode_prompt(tokenizer, messages)) == 3 + 1 + 4
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role not in ['system', 'user'] %}{{ raise_exception('no role ' + m.role) }}{% endif %}"
        "{{ m.role[0] }}{{ m.content }}{% endfor %}{% if add_generation_prompt %}={% endif %}"
    )
    plain = [{"role": "developer", "content": "abc"}, {"role": "user", "content": "12"}]
    assert tokenizer.decode(encode_prompt(tokenizer, plain)).replace("<unk>", "?") == "?abc?12="
    with pytest.raises(DataError, match="no role tool"):
        encode_prompt(tokenizer, [{"role": "tool", "content": "1"}])
    with pytest.raises(DataError, match="no tokens"):
        encode_prompt(load_tokenizer(folder), [{"role": "user", "content": ""}])


QWEN3 = """{%- if messages[0].role == 'system' %}{{- '<system>' + messages[0].content }}{%- endif %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<' + message.role + '>' + content }}
    {%- endif %}
{%- endfor %}{%- if add_generation_prompt %}{{- '<assistant>' }}{%- endif %}"""
"""How the templates of Qwen3 treat roles and contents: an unknown role and a list of parts are dropped."""


HARMONY = "{% for m in messages %}{{ '<' + m.role + '>' + m.content }}{% endfor %}<assistant>"


@pytest.mark.parametrize(
    ("template", "expected"),
    [(QWEN3, "<system>abc<user>1+2=<assistant>"), (HARMONY, "<developer>abc<user>1+2=<assistant>")],
)
def test_templates_lose_no_text(folder: Path, template: str, expected: str) -> None:
    """A template that passes over the developer gets a system message, one that knows the role keeps it,
    and text parts arrive joined, also where the template has only strings in mind."""
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = template
    messages = [
        {"role": "developer", "content": "abc"},
        {"role": "user", "content": [{"type": "text", "text": "1+"}, {"type": "input_text", "text": "2="}]},
    ]
    assert encode_prompt(tokenizer, messages) == tokenizer(expected)["input_ids"]
    tokenizer.chat_template = {"default": HARMONY, "tool_use": QWEN3}  # each template has its own answer
    found = [encode_prompt(tokenizer, messages, tools) for tools in ((), ({"type": "function"},))]
    assert found == [
        tokenizer(text)["input_ids"]
        for text in ("<developer>abc<user>1+2=<assistant>", "<system>abc<user>1+2=<assistant>")
    ]


def test_chat_templates_are_sandboxed(folder: Path) -> None:
    """A template that reaches for Python's internals is refused with a sentence."""
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(DataError, match="SecurityError"):
        encode_prompt(tokenizer, [{"role": "user", "content": "1"}])


def test_a_completion_to_learn_is_one_that_the_tokenizer_knows(folder: Path) -> None:
    """The end of sequence follows. Unknown characters are an error that shows the first, unless the text names the
    unknown token itself."""
    tokenizer = load_tokenizer(folder)
    assert encode_completion(tokenizer, "12") == [*tokenizer("12")["input_ids"], EOS]
    assert len(encode_completion(tokenizer, "1<unk>2")) == 4
    with pytest.raises(DataError, match=r"^holds 'é', which the model's tokenizer does not know"):
        encode_completion(tokenizer, "1é2ü")


def test_every_end_of_sequence_counts(folder: Path) -> None:
    """Those of the generation config, the model's config and the tokenizer, lists and single ids."""
    model, tokenizer = load_model(ModelRef(path=folder)), load_tokenizer(folder)
    assert eos_ids(model, tokenizer) == {EOS}
    model.generation_config.eos_token_id = [4, 5]
    assert eos_ids(model, tokenizer) == {EOS, 4, 5}
