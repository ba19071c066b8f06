"""Answers made from a right one: near misses, and the right one where it should not count."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from rft_core.runs.checks.references import as_text, leaves
from rft_core.types import Json, Row

UNRELATED = (
    "The weather by the lake was mild that spring, and most of the boats stayed in the harbour until noon. "
    "Some visitors walked along the shore while others had their breakfast outside."
)
MAX_SWAPS = 12
MAX_FIELDS = 3
FEW_WORDS = 3
ALTERNATIVES = re.compile(r"[|/;]|\bor\b")
"""What stands between answers of which any is right."""
MANY_WORDS = 6
FAR_SHARE = 0.05
"""Of a number: within it another may count as equal."""
_OPTION = re.compile(r"\(?[A-Za-z][.):]\s")
_DIGITS = str.maketrans("0123456789", "6758493021")
_NUMBER = re.compile(r"\s*-?\d+(?:\.\d+)?\s*%?\s*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A text to grade. `kind` says what it is, and so what a grader should make of it."""

    kind: str
    text: str
    note: str = ""


def is_number(value: Json) -> bool:
    return not isinstance(value, bool) and (
        isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value) is not None)
    )


def number_of(value: Json) -> float:
    return float(str(value).strip().rstrip("% "))


def near_misses(value: Json, write: Callable[[Json], str]) -> Iterator[Answer]:
    """The right answer, written otherwise or slightly wrong."""
    text = as_text(value)
    if isinstance(value, Mapping | list):
        if isinstance(value, Mapping):
            yield from _fields(value, write)
        yield from _surrounded(text, write(value))
        return
    if text.lstrip().startswith("{") and isinstance(written := _parsed(text), dict):
        yield from _fields(written, lambda changed: write(json.dumps(changed, ensure_ascii=False)))
    if text.swapcase() != text:
        yield Answer(kind="case", text=write(text.swapcase()))
    yield Answer(kind="spaces", text=write(f" {text} "))
    if is_number(value):
        yield from _numbers(value, write)
    else:
        words = text.split()
        if len(words) > 1:
            middle = len(words) // 2
            yield Answer(kind="word_dropped", text=write(" ".join(words[:middle] + words[middle + 1 :])))
        stripped = text.strip()
        if len(stripped) > 3 and stripped[len(stripped) // 2].isalnum():
            yield Answer(kind="middle_letter", text=write(stripped[len(stripped) // 2]))
        if len(text) > 3:
            at = len(text) // 2
            other = "x" if text[at] != "x" else "q"
            yield Answer(kind="letter_changed", text=write(text[:at] + other + text[at + 1 :]))
        yield Answer(kind="unicode", text=write("\u200b".join(text)))
        yield from _parts(text, write)
    yield Answer(kind="scrambled", text=write(scrambled(text)), note="other letters and digits, the same shape")
    embedded = f"7{text.strip()}3" if is_number(value) else f"x{text.strip()}x"
    yield Answer(kind="embedded", text=write(embedded))
    yield from _surrounded(text, write(value))


def _numbers(value: Json, write: Callable[[Json], str]) -> Iterator[Answer]:
    number = number_of(value)
    text = as_text(value).strip()
    whole = re.fullmatch(r"-?\d+", text) is not None

    def like(changed: float) -> str:
        return write(str(round(changed)) if whole else f"{changed:.6g}")

    far = number * 1.5 + (1 if number >= 0 else -1)
    yield Answer(kind="number_off", text=like(far), note="half as much again")
    yield Answer(kind="number_near", text=like(number * 1.2 + (1 if number >= 0 else -1)), note="a fifth more")
    yield Answer(kind="number_tenth", text=like(number * 1.1 + (number >= 0 or -1) * (abs(number) < 10)))
    if number:
        yield Answer(kind="negated", text=like(-number))
    if "." in text and number and float(re.sub(r"[.% ]", "", text)) != number:
        yield Answer(kind="point_moved", text=write(text.replace(".", "")))
        if abs(number - int(number)) > FAR_SHARE * abs(number):  # else its whole part alone may be near enough
            yield Answer(kind="point_spoilt", text=write(text.replace(".", "x")))
    if (other := _other_fraction(number)) is not None and not whole:
        yield Answer(kind="fraction_changed", text=like(other), note="the same whole number")
    if whole and number:
        yield Answer(kind="digit_added", text=write(f"{text}9"), note="ten times as large")
    first = re.search(r"[1-9]", text)
    if first:
        digit = str(int(first[0]) % 9 + 1)
        yield Answer(kind="digit_changed", text=write(text[: first.start()] + digit + text[first.end() :]))


def _other_fraction(number: float) -> float | None:
    """A number with the same whole part that is further away than `FAR_SHARE`; None if there is none."""
    below = math.copysign(math.floor(abs(number)), number)
    apart = [below + math.copysign(part, number) for part in (0.05, 0.95)]
    far = max(apart, key=lambda other: abs(other - number))
    return far if number and abs(far - number) > FAR_SHARE * abs(number) else None


def _parts(text: str, write: Callable[[Json], str]) -> Iterator[Answer]:
    """Less than the right answer, or the same letters in an order that says nothing."""
    text = text.strip()
    words = text.split()
    if not words:
        return
    short = len(words) <= FEW_WORDS  # more may be a solution, of which the end alone is the answer
    turned = text[::-1]
    if len(text) > 3 and sorted(_tokens(turned)) != sorted(_tokens(text)):  # else it may be a set in another order
        yield Answer(kind="backwards", text=write(turned))
    without = re.sub(r"\d", "", text)
    if short and without != text and re.search(r"[^\W\d_]", without):
        yield Answer(kind="digits_dropped", text=write(without.strip()))
        yield Answer(kind="letters_changed", text=write(codecs.encode(text, "rot13")))
    if short and len(text) > 5 and without.strip(" .,:;-/") and not ALTERNATIVES.search(text):
        # Cut within a word: a name's last word may do for the name.
        yield Answer(kind="half", text=write(text[: -(len(words[-1]) + 1) // 2].strip()), note="first")
        yield Answer(kind="half", text=write(text[(len(words[0]) + 1) // 2 :].strip()), note="last")
    if short:
        yield from _other_numbers(text, write)
    if not _OPTION.match(text):  # of an option the letter may be all that counts
        changed = _digits_changed(text)
        if changed != text and not short:
            yield Answer(kind="digits_changed", text=write(changed))
        yield Answer(kind="numbers_zero", text=write(re.sub(r"(?<![\w.])\d+(?!\w)", "0", text)))
    if len(words) >= MANY_WORDS:
        yield Answer(kind="long_half", text=write(" ".join(words[: len(words) // 2])), note="first")
        yield Answer(kind="long_half", text=write(" ".join(words[len(words) // 2 :])), note="last")
    long = sorted(dict.fromkeys(re.findall(r"[^\W\d_]{3,}", text)), key=lambda w: -len(w))
    if len(long) > 2 and not ALTERNATIVES.search(text):
        for word in long[:2]:
            yield Answer(kind="one_word", text=write(word), note=word)
            yield Answer(kind="one_word_often", text=write(" ".join([word] * max(5, len(long)))), note=word)


def _digits_changed(text: str) -> str:
    """With other digits, but for numbers of lines."""
    lines = []
    for line in text.split("\n"):
        ordinal = re.match(r"\s*(?:\d+[.):]\s+)?", line)
        assert ordinal is not None
        lines.append(ordinal[0] + line[ordinal.end() :].translate(_DIGITS))
    return "\n".join(lines)


def _tokens(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _other_numbers(text: str, write: Callable[[Json], str]) -> Iterator[Answer]:
    """Of several numbers in a text, as in a date, the first or the last one changed."""
    numbers = list(re.finditer(r"\d+(?:[.,]\d+)*", text))
    if len(numbers) > 1:
        for number, note in ((numbers[0], "first"), (numbers[-1], "last")):
            changed = re.sub(r"[1-9]", lambda m: str(10 - int(m[0])) if m[0] != "5" else "6", number[0])
            yield Answer(
                kind="number_changed", text=write(text[: number.start()] + changed + text[number.end() :]), note=note
            )


def _parsed(text: str) -> Json:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _fields(value: Mapping[str, Json], write: Callable[[Json], str]) -> Iterator[Answer]:
    """An object with fewer fields, and with wrong ones."""
    yield from _swapped(value, write)
    told = {key: inner for key, inner in value.items() if inner is not None}
    if len(told) > 1:
        yield Answer(kind="no_fields", text=write({}))
        for key in list(told)[:MAX_FIELDS]:
            yield Answer(kind="one_field", text=write({key: told[key]}), note=key)
    wrong = {
        key: scrambled(inner) for key, inner in told.items() if isinstance(inner, str) and scrambled(inner) != inner
    }
    for one, other in combinations(list(wrong)[:MAX_FIELDS], 2):
        yield Answer(
            kind="two_wrong", text=write({**value, one: wrong[one], other: wrong[other]}), note=f"{one}, {other}"
        )
    if len(wrong) > 1:
        for key in list(wrong)[:MAX_FIELDS]:
            yield Answer(kind="field_wrong", text=write({**value, key: wrong[key]}), note=key)


def _swapped(value: Mapping[str, Json], write: Callable[[Json], str]) -> Iterator[Answer]:
    """One field of an object with the value of another one of its kind."""
    made = 0
    for key, one in value.items():
        for other_key, other in value.items():
            if type(one) is type(other) and isinstance(one, str | int | float) and one != other and made < MAX_SWAPS:
                made += 1
                yield Answer(kind="swapped", text=write({**value, key: other}), note=f"{other_key} as {key}")


def _surrounded(text: str, written: str) -> Iterator[Answer]:
    yield Answer(kind="trailing", text=f"{written}\n\nI hope this helps.")
    yield Answer(kind="explained", text=f"{UNRELATED}\n\n{written}")
    yield Answer(kind="repeated_reference", text=" ".join([written] * 20))
    yield Answer(kind="buried", text=f"{UNRELATED} {text} {UNRELATED} {UNRELATED}")


def scrambled(text: str) -> str:
    """Every letter and digit replaced by another of its kind."""
    return codecs.encode(text, "rot13").translate(_DIGITS)


def listings(own: str, others: list[str], write: Callable[[Json], str]) -> Iterator[Answer]:
    """Every answer of the data in one text, the own one first, last and in the middle; in one form, and each in its
    own."""
    rest = [o for o in dict.fromkeys(others) if o != own]
    middle = len(rest) // 2
    for order in ([*rest, own], [own, *rest], [*rest[:middle], own, *rest[middle:]]):
        yield Answer(kind="listing", text=write(", ".join(order)))
        yield Answer(kind="listing_forms", text="\n".join(map(write, order)))


def terms(row: Row, own: str, write: Callable[[Json], str]) -> Iterator[Answer]:
    """Beside a right answer that is a text: the lists of words that the row holds, as lists."""
    if len(own.split()) < MANY_WORDS:
        return
    for path, value in leaves(row):
        if isinstance(value, list) and len(value) > 1 and all(isinstance(v, str) for v in value):
            listed = ", ".join(value)
            if len(listed.split()) < len(own.split()):
                yield Answer(kind="terms", text=write(listed), note=f"item.{path}")
