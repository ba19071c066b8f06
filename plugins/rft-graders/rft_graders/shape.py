"""xml_format, length and repetition: small graders of the form of a text."""

from __future__ import annotations

from collections.abc import Sequence

from rft_core.types import Grade, Group
from rft_graders.format_config import LengthConfig, RepetitionConfig, XmlFormatConfig
from rft_graders.texts import RIGHT, WRONG, TextGrader


def xml_format(config: XmlFormatConfig) -> TextGrader:
    """Each tag stands once, closed, not empty, and after the tag before it: 1, or 0, or the share of tags
    of which that is true."""
    tags = config.tags

    def judge(text: str, _: str) -> Grade:
        end, good, outside = 0, 0, []
        for tag in tags:
            opening, closing = f"<{tag}>", f"</{tag}>"
            start, stop = text.find(opening, end), text.find(closing, end)
            once = text.count(opening) == 1 and text.count(closing) == 1
            if once and 0 <= start < stop and text[start + len(opening) : stop].strip():
                outside.append(text[end:start])
                good, end = good + 1, stop + len(closing)
        outside.append(text[end:])
        if config.nothing_else and any(part.strip() for part in outside):
            return WRONG
        if good == len(tags):
            return RIGHT
        return Grade.score(good / len(tags)) if config.partial else WRONG

    return TextGrader(judge, config.input)


class TokenLengthGrader:
    """`length` of the tokens that were sampled, which the text alone does not tell."""

    def __init__(self, config: LengthConfig) -> None:
        self._config = config

    def grade(self, group: Group) -> Sequence[Grade]:
        return [Grade.score(band(rollout.completion_tokens, self._config)) for rollout in group.rollouts]

    def close(self) -> None:
        """Nothing to release."""


def length(config: LengthConfig) -> TextGrader | TokenLengthGrader:
    """1 inside the band, and outside it 1 − distance / falloff, but not below 0."""
    if config.unit == "tokens":
        return TokenLengthGrader(config)
    if config.unit == "words":
        return TextGrader(lambda text, _: Grade.score(band(len(text.split()), config)), config.input)
    return TextGrader(lambda text, _: Grade.score(band(len(text), config)), config.input)


def band(count: int, config: LengthConfig) -> float:
    """The score of a length."""
    distance = max(config.min - count, 0 if config.max is None else count - config.max, 0)
    if distance == 0:
        return 1.0
    return max(0.0, 1.0 - distance / config.falloff) if config.falloff else 0.0


def repetition(config: RepetitionConfig) -> TextGrader:
    """The share of the text's phrases of `words` words that are no repetition of an earlier one; 1 for a
    text of fewer words. Case counts not."""
    size = config.words

    def judge(text: str, _: str) -> Grade:
        words = text.casefold().split()
        phrases = len(words) - size + 1
        if phrases < 1:
            return RIGHT
        return Grade.score(len({tuple(words[i : i + size]) for i in range(phrases)}) / phrases)

    return TextGrader(judge, config.input)
