"""Checks the data of a run before anything heavy is loaded: the data part of `rft-engine validate`.

Rows are visited once each and not kept; per row there remain two 8-byte digests and a length. Two of
100,000 different prompts share a 64-bit digest with a probability of 3e-10.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np

from rft_core.canonical import canonical_json
from rft_core.errors import DataError, MissingVariableError
from rft_core.protocols import DataSource
from rft_core.rows import check_row, prompt_text
from rft_core.template import Variable, compile_variable

EXAMPLES = 5
PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True, kw_only=True, slots=True)
class VariableProblem:
    """A template variable that some rows do not have, or have as null."""

    variable: str
    rows: int
    first_key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Lengths:
    """Lengths of the prompts in characters of text."""

    shortest: int
    mean: float
    longest: int
    percentiles: Mapping[str, int]
    """`p50`, `p90`, `p95` and `p99`: the length that this share of the prompts does not exceed."""
    histogram: Mapping[str, int]
    """Prompts by length, in buckets that double: `0-63`, `64-127`, `128-255`, …"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """Prompts that occur more than once: how many rows repeat an earlier one, and some pairs of keys."""

    rows: int
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitReport:
    """What one data source holds."""

    rows: int
    skipped: int
    """Rows that the source left out because they cannot be used."""
    missing: tuple[VariableProblem, ...]
    null: tuple[VariableProblem, ...]
    """Variables that are null in some rows: a template shows them as the text `null`."""
    prompt_chars: Lengths
    duplicates: Pairs
    """Rows whose messages equal those of an earlier row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """Rows of one split that stand in another one too; keys are (the other's, this one's)."""

    split: str
    other: str
    exact: Pairs
    """Rows whose messages equal those of a row of the other split."""
    near: Pairs
    """Further rows whose text equals one there but for case and white space."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationReport:
    """What `check_data` found. With `errors` the run should not start."""

    train: SplitReport
    validation: SplitReport | None
    test: SplitReport | None
    overlaps: tuple[Overlap, ...]
    """Of validation with training, and of test with both."""
    errors: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return asdict(self)


def check_data(
    train: DataSource,
    validation: DataSource | None = None,
    test: DataSource | None = None,
    *,
    variables: Sequence[str] = (),
    test_variables: Sequence[str] | None = None,
) -> ValidationReport:
    """Reads every row once. `variables` are template variables such as `item.answer`; those of `sample` are
    ignored, because no data row can have them. `test_variables` are those of the test rows, where they
    differ: these are graded and never trained on. DataError if a source cannot be read."""
    sources = {"training": train, "validation": validation, "test": test}
    scans: dict[str, _Scan] = {}
    for name, source in sources.items():
        if source is not None:
            names = test_variables if name == "test" and test_variables is not None else variables
            paths = [v for v in map(compile_variable, dict.fromkeys(names)) if v.steps[0] == "item"]
            scans[name] = _Scan(source, paths)
    reports = {name: scan.report() for name, scan in scans.items()}
    overlaps = tuple(_overlap(other, name, scans) for other, name in combinations(scans, 2))
    warnings = [message for name, report in reports.items() for message in _warnings(name, report)]
    return ValidationReport(
        train=reports["training"],
        validation=reports.get("validation"),
        test=reports.get("test"),
        overlaps=overlaps,
        errors=tuple(message for name, report in reports.items() for message in _errors(name, report)),
        warnings=(*warnings, *(message for overlap in overlaps for message in _overlap_warnings(overlap))),
    )


def missing_variables(name: str, source: DataSource, variables: Sequence[str]) -> list[str]:
    """A sentence for each template variable, such as `item.answer`, that a row of the source lacks. Reads every
    row once and nothing else of it, so that a run can ask before it starts."""
    paths = [v for v in map(compile_variable, dict.fromkeys(variables)) if v.steps[0] == "item"]
    missing = {path.name: [0, -1] for path in paths}
    for index in range(len(source)) if paths else ():
        namespaces = {"item": source.item(index).row}
        for path in paths:
            try:
                path.find(namespaces)
            except MissingVariableError:
                _count(missing[path.name], index)
    return [
        _missing_in(name, VariableProblem(variable=n, rows=rows, first_key=source.item(first).key), len(source))
        for n, (rows, first) in missing.items()
        if rows
    ]


class _Scan:
    """One pass over a source."""

    def __init__(self, source: DataSource, paths: Sequence[Variable]) -> None:
        rows = len(source)
        self.source = source
        self.exact = np.zeros(rows, dtype=np.uint64)
        self.near = np.zeros(rows, dtype=np.uint64)
        self.lengths = np.zeros(rows, dtype=np.int64)
        self._missing: dict[str, list[int]] = {path.name: [0, -1] for path in paths}
        self._null: dict[str, list[int]] = {path.name: [0, -1] for path in paths}
        for index in range(rows):
            item = source.item(index)
            row = item.row
            try:
                check_row(row)
            except DataError as error:
                raise error.located(item.key, None) from None
            text = prompt_text(row)
            self.lengths[index] = len(text)
            self.exact[index] = _digest64(canonical_json(row["messages"]))
            self.near[index] = _digest64(normalised(text).encode())
            for path in paths:
                self._look_up(path, {"item": row}, index)

    def report(self) -> SplitReport:
        return SplitReport(
            rows=len(self.source),
            skipped=len(getattr(self.source, "skipped", ())),
            missing=self._problems(self._missing),
            null=self._problems(self._null),
            prompt_chars=_lengths(self.lengths),
            duplicates=self._duplicates(),
        )

    def key(self, index: int) -> str:
        return self.source.item(int(index)).key

    def _look_up(self, path: Variable, namespaces: Mapping[str, Mapping[str, object]], index: int) -> None:
        try:
            if path.find(namespaces) is not None:
                return
            counter = self._null[path.name]
        except MissingVariableError:
            counter = self._missing[path.name]
        _count(counter, index)

    def _problems(self, counters: Mapping[str, list[int]]) -> tuple[VariableProblem, ...]:
        return tuple(
            VariableProblem(variable=n, rows=rows, first_key=self.key(i)) for n, (rows, i) in counters.items() if rows
        )

    def _duplicates(self) -> Pairs:
        _, first, inverse = np.unique(self.exact, return_index=True, return_inverse=True)
        earlier = first[inverse.reshape(-1)]
        repeats = np.flatnonzero(earlier != np.arange(len(self.exact)))
        examples = tuple((self.key(earlier[i]), self.key(i)) for i in repeats[:EXAMPLES])
        return Pairs(rows=len(repeats), examples=examples)


def _count(counter: list[int], index: int) -> None:
    """`counter` holds how many rows there were, and the first."""
    counter[0] += 1
    if counter[1] < 0:
        counter[1] = index


def normalised(text: str) -> str:
    """Text by which near duplicates are found: case folded, runs of white space as one space. Digits and
    signs stay, because `3 + 4` and `3 - 4` are two tasks."""
    return " ".join(text.split()).casefold()


def _digest64(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _overlap(other: str, split: str, scans: Mapping[str, _Scan]) -> Overlap:
    there, here = scans[other], scans[split]
    exact = np.isin(here.exact, there.exact)
    near = np.isin(here.near, there.near) & ~exact
    return Overlap(
        split=split,
        other=other,
        exact=_pairs(there, here, there.exact, here.exact, exact),
        near=_pairs(there, here, there.near, here.near, near),
    )


def _pairs(there: _Scan, here: _Scan, digests_there: np.ndarray, digests: np.ndarray, mask: np.ndarray) -> Pairs:
    found = np.flatnonzero(mask)
    examples = tuple((there.key(np.flatnonzero(digests_there == digests[i])[0]), here.key(i)) for i in found[:EXAMPLES])
    return Pairs(rows=len(found), examples=examples)


def _lengths(lengths: np.ndarray) -> Lengths:
    if len(lengths) == 0:
        return Lengths(shortest=0, mean=0.0, longest=0, percentiles={}, histogram={})
    percentiles = np.percentile(lengths, PERCENTILES, method="inverted_cdf")
    longest = int(lengths.max())
    histogram: dict[str, int] = {}
    low, high = 0, 64
    while low <= longest:
        histogram[f"{low}-{high - 1}"] = int(((lengths >= low) & (lengths < high)).sum())
        low, high = high, high * 2
    return Lengths(
        shortest=int(lengths.min()),
        mean=float(lengths.mean()),
        longest=longest,
        percentiles={f"p{share}": int(value) for share, value in zip(PERCENTILES, percentiles, strict=True)},
        histogram=histogram,
    )


def _errors(name: str, split: SplitReport) -> list[str]:
    if split.rows == 0:
        return [f"the {name} data has no rows"]
    return [_missing_in(name, problem, split.rows) for problem in split.missing]


def _missing_in(name: str, problem: VariableProblem, rows: int) -> str:
    return (
        f"{{{{{problem.variable}}}}} is missing in {problem.rows} of {rows} {name} rows, first in {problem.first_key}; "
        "add the key, or correct the template"
    )


def _warnings(name: str, split: SplitReport) -> list[str]:
    found = []
    if split.skipped:
        found.append(f"{split.skipped} rows of the {name} data cannot be used and are left out")
    found += [
        f"{{{{{p.variable}}}}} is null in {p.rows} of {split.rows} {name} rows, first in {p.first_key}; a template shows it as the text null"
        for p in split.null
    ]
    if split.duplicates.rows:
        earlier, later = split.duplicates.examples[0]
        found.append(
            f"{split.duplicates.rows} of {split.rows} {name} rows repeat the messages of an earlier one, such as {later} those of {earlier}"
        )
    return found


def _overlap_warnings(overlap: Overlap) -> list[str]:
    found = []
    for pairs, how in (
        (overlap.exact, f"are {overlap.other} rows too"),
        (overlap.near, f"differ from a {overlap.other} row only in case or white space"),
    ):
        if pairs.rows:
            there, here = pairs.examples[0]
            found.append(
                f"{pairs.rows} {overlap.split} rows {how}, such as {here} and {there}: "
                f"{overlap.split} will look better than it is"
            )
    return found
