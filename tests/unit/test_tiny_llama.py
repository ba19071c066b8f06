"""Models from nothing and arithmetic problems."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer

from rft_core import BuildContext, DataSource, ModelRef, ModelSource
from rft_core.errors import DataError
from rft_core.template import render
from rft_core.weights import digest_of
from rft_tiny_llama import rft_data_sources, rft_model_sources
from rft_tiny_llama.arithmetic import ALPHABET, Arithmetic, ArithmeticConfig, split_of, worked_solution
from rft_tiny_llama.config import CharacterTokenizer, PhraseTokenizer, TinyLlamaConfig
from rft_tiny_llama.vocabulary import build_tokenizer, phrases

(MODEL,) = rft_model_sources()
(DATA,) = rft_data_sources()
CHARACTERS = {"type": "characters", "alphabet": ALPHABET}
SMALL = {"hidden_size": 16, "layers": 1, "heads": 2, "max_context": 32}


def materialize(cache: Path, base: Path = Path(), **config: object) -> ModelRef:
    source = MODEL.build(TinyLlamaConfig.model_validate({**SMALL, **config}), BuildContext(base_dir=base))
    assert isinstance(source, ModelSource)
    return source.materialize(cache)


def arithmetic(**config: object) -> DataSource:
    source = DATA.build(ArithmeticConfig.model_validate(config), BuildContext(base_dir=Path()))
    assert isinstance(source, DataSource)
    return source


def test_transformers_loads_the_folder(tmp_path: Path) -> None:
    """The folder is a plain Hugging Face model with the shape asked for."""
    ref = materialize(tmp_path, kv_heads=1, tied_embeddings=True, tokenizer=CHARACTERS)
    model = AutoModelForCausalLM.from_pretrained(ref.path)
    tokenizer = AutoTokenizer.from_pretrained(ref.path)
    config = model.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_key_value_heads) == (16, 1, 1)
    assert config.tie_word_embeddings
    assert config.vocab_size == len(tokenizer) == len(ALPHABET) + 5
    assert config.eos_token_id == tokenizer.eos_token_id == model.generation_config.eos_token_id
    assert model(torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, len(tokenizer))


def test_equal_settings_make_equal_weights(tmp_path: Path) -> None:
    """Settings and seed fix the weights to the bit and the folder's name; another seed changes both."""
    folders = [
        materialize(tmp_path / place, seed=seed, tokenizer=CHARACTERS).path
        for place, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert folders[0].name == folders[1].name != folders[2].name
    assert digest_of(folders[0]) == digest_of(folders[1]) != digest_of(folders[2])


def test_a_finished_folder_is_kept(tmp_path: Path) -> None:
    """Asking again makes nothing, and nothing half-made is left behind."""
    first = materialize(tmp_path, tokenizer=CHARACTERS)
    stamp = (first.path / "model.safetensors").stat().st_mtime_ns
    assert materialize(tmp_path, tokenizer=CHARACTERS) == first
    assert (first.path / "model.safetensors").stat().st_mtime_ns == stamp
    assert [entry.name for entry in tmp_path.iterdir()] == [first.path.name]


def test_making_it_twice_at_once_is_safe(tmp_path: Path) -> None:
    """Several makers at the same time end with one whole folder, the same as one alone makes."""
    made: list[ModelRef] = []
    makers = [
        threading.Thread(target=lambda: made.append(materialize(tmp_path, tokenizer=CHARACTERS))) for _ in range(4)
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert len(made) == 4
    alone = materialize(tmp_path.with_name("alone"), tokenizer=CHARACTERS)
    assert {digest_of(ref.path) for ref in made} == {digest_of(alone.path)}
    assert [entry.name for entry in tmp_path.iterdir()] == [made[0].path.name]


def test_the_chat_template_marks_turns(tmp_path: Path) -> None:
    """A prompt ends where the answer begins, and the whole conversation continues it."""
    tokenizer = AutoTokenizer.from_pretrained(materialize(tmp_path, tokenizer=CHARACTERS).path)
    messages = [{"role": "developer", "content": "1"}, {"role": "user", "content": [{"type": "text", "text": "2+3="}]}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template([*messages, {"role": "assistant", "content": "#5"}], tokenize=False)
    assert prompt == "<bos>1<sep>2+3=<sep>"
    assert whole == prompt + "#5<eos>"
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert tokenizer.convert_ids_to_tokens(ids) == ["<bos>", "1", "<sep>", "2", "+", "3", "=", "<sep>"]


TOKENIZER = build_tokenizer(CharacterTokenizer(type="characters", alphabet="ab .,!\n'é∞"), [], 64)


@given(st.text(alphabet="ab .,!\n'é∞"))
@settings(max_examples=100, deadline=None)
def test_characters_round_trip(text: str) -> None:
    """Every text over the alphabet reads back exactly, spaces and line ends included."""
    ids = TOKENIZER(text)["input_ids"]
    assert len(ids) == len(text)
    assert TOKENIZER.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) == text


def test_unknown_characters_become_unk() -> None:
    """A character outside the alphabet is one <unk>."""
    assert TOKENIZER.convert_ids_to_tokens(TOKENIZER("aZb")["input_ids"]) == ["a", "<unk>", "b"]


def corpus(folder: Path) -> Path:
    rows = [
        {"messages": [{"role": "user", "content": "genes: BRCA1, TP53; age: 41\nwho, then?"}], "gene": "FBN1"},
        {"messages": [], "target": {"genes": ["CFTR", "ATM"], "count": 7}},
    ]
    file = folder / "rows.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    return file


def test_phrases_are_tokens(tmp_path: Path) -> None:
    """Phrases and separators of the corpus and the extra fields are one token each, and read back exactly."""
    corpus(tmp_path)
    settings = {
        "type": "phrases",
        "corpus": ["rows.jsonl"],
        "extra": ["gene", "target.genes", "target.count", "absent.field"],
    }
    tokenizer = AutoTokenizer.from_pretrained(materialize(tmp_path / "cache", tmp_path, tokenizer=settings).path)
    text = "genes: CFTR, FBN1; BRCA1\nwho, then?: 7"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == [
        "genes",
        ": ",
        "CFTR",
        ", ",
        "FBN1",
        "; ",
        "BRCA1",
        "\n",
        "who",
        ", ",
        "then?",
        ": ",
        "7",
    ]
    assert tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) == text
    assert tokenizer.convert_ids_to_tokens(tokenizer("ATM, unheard of")["input_ids"]) == ["ATM", ", ", "<unk>"]


def test_the_corpus_is_part_of_the_name(tmp_path: Path) -> None:
    """Another corpus makes another model; the same one in another file does not."""
    file = corpus(tmp_path)
    settings = {"type": "phrases", "corpus": ["rows.jsonl"]}
    before = materialize(tmp_path / "cache", tmp_path, tokenizer=settings)
    (tmp_path / "copy.jsonl").write_bytes(file.read_bytes())
    assert materialize(tmp_path / "cache", tmp_path, tokenizer={**settings, "corpus": ["copy.jsonl"]}) == before
    file.write_text(json.dumps({"messages": [{"role": "user", "content": "new"}]}))
    assert materialize(tmp_path / "cache", tmp_path, tokenizer=settings).path != before.path


def test_only_line_feeds_end_a_row_of_the_corpus(tmp_path: Path) -> None:
    """Characters that Unicode calls line ends may stand in a JSON string as they are; CRLF ends a row as well."""
    texts = ["a\u2028b", "c\u0085d", "e\u2029f"]
    rows = [{"messages": [{"role": "user", "content": text}]} for text in texts]
    (tmp_path / "rows.jsonl").write_bytes("\r\n".join(json.dumps(r, ensure_ascii=False) for r in rows).encode())
    settings = PhraseTokenizer.model_validate({"type": "phrases", "corpus": ["rows.jsonl"], "separators": [", "]})
    assert phrases(settings, [tmp_path / "rows.jsonl"]) == sorted([", ", *texts])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("{}\n{broken\n", "rows.jsonl, line 2: .* must be JSONL"),
        ("[1]\n", "line 1: .* one JSON object per line"),
    ],
)
def test_a_bad_corpus_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    """A corpus that is missing or not JSONL is an error with file and line, and leaves no folder."""
    if content is not None:
        (tmp_path / "rows.jsonl").write_text(content)
    with pytest.raises(DataError, match=message):
        materialize(tmp_path / "cache", tmp_path, tokenizer={"type": "phrases", "corpus": ["rows.jsonl"]})
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"heads": 3}, "even multiple of heads"),
        ({"heads": 4, "kv_heads": 3}, "must divide heads"),
        ({"tokenizer": {"type": "characters", "alphabet": "aba"}}, "more than once"),
        ({"tokenizer": {"type": "phrases", "corpus": ["x"], "separators": [""]}}, "must not be empty"),
        ({"tokenizer": {"type": "words"}}, "characters"),
        ({"depth": 3}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_work_are_refused(config: dict[str, object], message: str) -> None:
    """Shapes that do not fit and unknown names fail before anything is made."""
    with pytest.raises(ValidationError, match=message):
        TinyLlamaConfig.model_validate({**SMALL, "tokenizer": CHARACTERS, **config})


@given(st.integers(0, 10**9), st.integers(0, 10**9))
@settings(max_examples=200)
def test_worked_solutions_are_right(a: int, b: int) -> None:
    """Every step of a worked solution is a true sum, its digits and last carry spell the answer, and
    its characters are in the alphabet."""
    working, answer = worked_solution(a, b).split("#")
    assert int(answer) == a + b
    carry, digits = 0, ""
    for step in working.split(";"):
        left, total = step.split("=")
        terms = [int(term) for term in left.split("+")]
        assert sum(terms) == int(total)
        assert len(terms) == 2 + carry
        carry, digits = int(total) // 10, str(int(total) % 10) + digits
    assert int(str(carry) + digits) == a + b
    assert set(worked_solution(a, b)) <= set(ALPHABET)


def test_rows_follow_from_seed_and_index() -> None:
    """Any row is the same in any order of asking; another seed gives others; `answer` is right in every row."""
    first, again = arithmetic(count=300, digits=3), arithmetic(count=300, digits=3)
    forward = [first.item(i) for i in range(300)]
    assert forward == [again.item(i) for i in reversed(range(300))][::-1]
    assert first.fingerprint() == again.fingerprint()
    other = arithmetic(count=300, digits=3, seed=1)
    assert other.fingerprint() != first.fingerprint()
    assert sum(other.item(i).row == row.row for i, row in enumerate(forward)) < 10
    for index, item in enumerate(forward):
        a, b = item.row["messages"][0]["content"].rstrip("=").split("+")
        assert item.row["answer"] == str(int(a) + int(b))
        assert item.row["worked"].endswith(f"#{item.row['answer']}")
        assert item.index == index
    assert len({item.key for item in forward}) == 300
    with pytest.raises(IndexError):
        first.item(300)


def test_splits_share_no_problem() -> None:
    """No problem of one split, nor its mirror image, is in another, whatever the seeds."""
    seen: dict[str, set[frozenset[str]]] = {}
    for split in ("train", "validation", "test"):
        seen[split] = set()
        for seed in (0, 1):
            source = arithmetic(count=2000, digits=2, split=split, seed=seed)
            for index in range(len(source)):
                a, b = source.item(index).row["messages"][0]["content"].rstrip("=").split("+")
                assert split_of(int(a), int(b)) == split_of(int(b), int(a)) == split
                seen[split].add(frozenset((a, b)))
    assert not seen["train"] & seen["validation"]
    assert not seen["train"] & seen["test"]
    assert not seen["validation"] & seen["test"]
    shares = [sum(split_of(a, b) == split for a in range(100) for b in range(100)) / 10_000 for split in seen]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.02)


@pytest.mark.parametrize("fraction", [0.0, 0.35, 1.0])
def test_the_worked_share_is_kept(fraction: float) -> None:
    """`target` is the worked solution in the share of rows asked for, and the guess in the others."""
    source = Arithmetic(ArithmeticConfig(count=4000, worked_fraction=fraction))
    rows = [source.item(i).row for i in range(len(source))]
    assert all(row["target"] in (row["worked"], row["guess"]) for row in rows)
    assert sum(row["target"] == row["worked"] for row in rows) / 4000 == pytest.approx(fraction, abs=0.03)


@pytest.mark.parametrize(
    ("completion", "passes"),
    [
        ("7+8=15;3+5+1=9#95", True),
        ("#95", True),
        ("7+8=0#95", True),
        ("#94#95", True),
        ("#95#96", False),
        ("#95;", False),
        ("#195", False),
        ("#095", False),
        ("#9", False),
        ("95", False),
        ("", False),
        ("#1#2#3" * 40, False),
    ],
)
def test_only_the_last_answer_counts(completion: str, passes: bool) -> None:
    """The grader of the docstring accepts a completion exactly when it ends with `#` and the answer."""
    names = {"sample": {"output_text": completion}, "item": {"answer": "95"}}
    assert (render("#{{item.answer}}$", names) in render("{{sample.output_text}}$", names)) == passes
