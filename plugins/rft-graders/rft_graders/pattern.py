"""regex: 1 if a pattern matches, or if what it captures is the reference; else 0.

A pattern can take exponential time on a text that the model chose. The library `regex` gives up after
`timeout_s` and the grade is `timed_out`: the pattern is the user's, so the sample is not blamed, is not
trained on, and too many of them stop the run. The clock costs as much as a match, so a pattern that can at
worst take the square of a short text's length goes without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import regex

from rft_core.types import Grade
from rft_graders.texts import RIGHT, WRONG, Judge, TextGrader

if TYPE_CHECKING:
    from rft_graders.format_config import RegexConfig

QUICK_CHARS = 1000
"""Up to this length a pattern with one plain repeat takes milliseconds at worst."""
_ESCAPE_OR_CLASS = regex.compile(r"\\.|\[\^?\]?[^\]\[]*\]", regex.DOTALL)
_REFERENCE = regex.compile(r"\\[1-9gkL]")
_PLAIN_GROUP = regex.compile(r"\((?:\?:|\?P<\w+>)?(?!\?)")


def regex_grader(config: RegexConfig) -> TextGrader:
    """Matching releases the interpreter's lock, so that a slow one stops nobody else."""
    pattern = compiled(config)
    match = pattern.search if config.mode == "search" else pattern.fullmatch
    return TextGrader(_judge(match, config), config.input, config.reference or "")


def compiled(config: RegexConfig) -> regex.Pattern[str]:
    """ValueError, with the position, for a pattern that cannot be read."""
    flags = regex.VERSION0
    for name in config.flags:
        flags |= regex.RegexFlag[name.upper()]
    try:
        return regex.compile(config.pattern, flags)
    except regex.error as error:
        raise ValueError(f"the pattern cannot be read: {error}") from None


def _judge(match: Callable[..., Any], config: RegexConfig) -> Judge:
    group, timeout_s, compare = config.group, config.timeout_s, config.reference is not None
    quick_chars = QUICK_CHARS if "verbose" not in config.flags and has_one_repeat(config.pattern) else -1
    late = Grade.timed_out(
        f"the pattern took longer than {timeout_s:g} s on this text: it backtracks; make it say one thing in one way"
    )

    def judge(text: str, reference: str) -> Grade:
        try:
            # pos, endpos, concurrent, partial, timeout: by position, which is twice as fast as by name
            found = match(text) if len(text) <= quick_chars else match(text, None, None, True, False, timeout_s)
        except TimeoutError:
            return late
        if found is None:
            return WRONG
        if compare:
            return RIGHT if found[group] == reference else WRONG
        return WRONG if found[group] is None else RIGHT

    return judge


def has_one_repeat(pattern: str) -> bool:
    """Whether at most one thing repeats in a pattern, and that is a character or a class, not a group, there
    are few alternatives, and nothing refers back, looks around or recurs.

    Then a match from one place in the text tries each length of the repeat a few times. Errs towards no."""
    plain = _PLAIN_GROUP.sub("(", _ESCAPE_OR_CLASS.sub("x", pattern))
    if "(?" in plain or plain.count("|") > 3 or _REFERENCE.search(pattern):
        return False
    repeats = sum(plain.count(sign) for sign in "*+?{")
    return repeats == 0 or (repeats == 1 and not any(")" + sign in plain for sign in "*+?{"))
