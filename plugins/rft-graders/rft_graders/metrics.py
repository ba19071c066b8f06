"""The metrics of text_similarity, by the libraries that the field uses; all from 0 to 1.

OpenAI publishes the names and not the functions. What stands here:

    fuzzy_match          rapidfuzz's WRatio over lower-cased words, divided by 100
    bleu                 nltk's sentence_bleu of words up to 4-grams, smoothing method 1; a text of fewer
                         than four words is measured by the n-grams that it has
    gleu                 nltk's sentence_gleu (Google BLEU) of words
    meteor               nltk's meteor_score of words: equal, of equal stem, or synonyms in WordNet
    rouge_1 … rouge_5    rouge-score's F-measure of n-grams, without stemming
    rouge_l              the same of the longest common subsequence

Words are what white space separates; ROUGE and fuzzy_match drop punctuation and case. 0 if either text
has no words. Source: https://platform.openai.com/docs/guides/graders#text-similarity-graders

WordNet is data that nltk does not bring. Where it is not installed, `meteor` matches equal words and
stems alone, and says so once. Nothing is ever downloaded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import structlog

log = structlog.get_logger(__name__)

Measure = Callable[[str, str], float]
"""Of a text and a reference."""


def metric(name: str) -> Measure:
    """The function of a metric's name, with its library loaded."""
    if name.startswith("rouge_"):
        return _rouge(name.removeprefix("rouge_"))
    makers: dict[str, Callable[[], Measure]] = {
        "fuzzy_match": _fuzzy_match,
        "bleu": _bleu,
        "gleu": _gleu,
        "meteor": _meteor,
    }
    return makers[name]()


def _fuzzy_match() -> Measure:
    from rapidfuzz import fuzz, utils

    return lambda text, reference: fuzz.WRatio(text, reference, processor=utils.default_process) / 100


def _of_words(measure: Callable[[list[list[str]], list[str]], float]) -> Measure:
    """A measure of texts from one of nltk's, which take words, the references first."""

    def of_texts(text: str, reference: str) -> float:
        words, expected = text.split(), reference.split()
        return float(measure([expected], words)) if words and expected else 0.0

    return of_texts


def _bleu() -> Measure:
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    smooth = SmoothingFunction().method1
    return _of_words(lambda r, w: sentence_bleu(r, w, smoothing_function=smooth, auto_reweigh=True))


def _gleu() -> Measure:
    from nltk.translate.gleu_score import sentence_gleu

    return _of_words(sentence_gleu)


def _meteor() -> Measure:
    from nltk.translate.meteor_score import meteor_score

    wordnet = _wordnet()
    if wordnet is None:
        return _of_words(lambda r, w: meteor_score(r, w, wordnet=_NoSynonyms()))
    lock = threading.Lock()  # WordNet's reader shares one position in its files

    def locked(references: list[list[str]], words: list[str]) -> float:
        with lock:
            return float(meteor_score(references, words, wordnet=wordnet))

    return _of_words(locked)


class _NoSynonyms:
    """WordNet without words, as far as nltk's METEOR looks at it."""

    def synsets(self, word: str) -> list[Any]:
        return []


@cache
def _wordnet() -> Any:
    """nltk's WordNet, or None, with one warning, where its data is not installed, or not all of it."""
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except (LookupError, OSError) as error:
        lacks = f": {error}" if isinstance(error, OSError) else ""  # nltk's own words for the whole are a page
        log.warning(
            "wordnet_missing",
            message=f"meteor matches equal words and stems, no synonyms: nltk's WordNet data is not installed{lacks}"
            " (python -m nltk.downloader wordnet)",
        )
        return None
    return wordnet


def _rouge(order: str) -> Measure:
    from rouge_score.rouge_scorer import RougeScorer

    kind = "rougeL" if order == "l" else f"rouge{order}"
    scorer = RougeScorer([kind], use_stemmer=False)
    return lambda text, reference: float(scorer.score(reference, text)[kind].fmeasure)
