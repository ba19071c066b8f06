"""Micro-batches: which token rows are computed together, so that little is padded and prompts are shared.

What a micro-batch costs is counted in tokens: each distinct prefix once, and every row padded to the
longest row's remainder. Rows are sorted by the length of their remainder and cut into consecutive
micro-batches; dynamic programming finds the cuts of least total cost within the token budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BLOCKS = 32
"""Cuts are considered at about this many places, more where the budget asks for them: it bounds the search."""
OVERHEAD_TOKENS = 256
"""A micro-batch's fixed cost, in tokens: measured on two CPU cores with a 0.4 M-parameter Llama."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One token sequence and the positions in it whose log-probabilities are wanted."""

    ids: tuple[int, ...]
    """All tokens up to the last wanted one: what follows it changes nothing."""
    wanted: tuple[int, ...]
    """Ascending positions in `ids`, at least one, none of them 0: the first token is given, not predicted."""
    shared: int = 0
    """Leading tokens that rows of the same micro-batch compute once if they are equal. The token before
    the first wanted one is never among them, because its output is needed in each row."""

    @property
    def prefix(self) -> tuple[int, ...]:
        return self.ids[: self.shared]

    @property
    def remainder(self) -> int:
        """Input tokens behind the prefix; the last token of the row is only predicted."""
        return len(self.ids) - 1 - self.shared


def token_row(ids: Sequence[int], wanted: Iterable[int], *, share_prompt: bool) -> TokenRow:
    """A row that ends at its last wanted token. ValueError if none is wanted, or the first token is."""
    positions = tuple(wanted)
    if not positions:
        raise ValueError("it has no token to learn")
    if positions[0] < 1:
        raise ValueError("its first token has no token before it to be predicted from; it needs a prompt")
    shared = positions[0] - 1 if share_prompt else 0
    return TokenRow(ids=tuple(ids[: positions[-1] + 1]), wanted=positions, shared=shared)


def plan(rows: Sequence[TokenRow], budget_tokens: int) -> list[list[int]]:
    """Indices into `rows` per micro-batch; every row once. No micro-batch costs more than the budget, but
    for a row that does so by itself: it stands alone.

    The plan depends on the rows and the budget alone, so equal batches are computed in equal order. The
    longest rows come first: if memory is short, it is short at once.
    """
    if not rows:
        return []
    order = sorted(range(len(rows)), key=lambda i: (rows[i].remainder, rows[i].shared, rows[i].prefix, i))
    numbers: dict[tuple[int, ...], int] = {}
    prefix = [numbers.setdefault(row.prefix, len(numbers)) for row in rows]
    starts = _block_starts([rows[i] for i in order], [prefix[i] for i in order], budget_tokens)
    ends = [*starts[1:], len(order)]
    cheapest: list[tuple[int, int]] = [(0, 0)]  # of covering the first k blocks: cost, and where its last cut lies
    for k in range(1, len(ends) + 1):
        width = rows[order[ends[k - 1] - 1]].remainder
        choices = []
        prefixes: set[int] = set()
        longest = 0
        for j in range(k - 1, -1, -1):
            block_rows = order[starts[j] : ends[j]]
            prefixes.update(prefix[i] for i in block_rows)
            longest = max(longest, *(rows[i].shared for i in block_rows))
            cost = len(prefixes) * longest + (ends[k - 1] - starts[j]) * width
            if cost > budget_tokens and j < k - 1:
                break
            choices.append((cheapest[j][0] + cost + OVERHEAD_TOKENS, j))
        cheapest.append(min(choices))
    batches = []
    k = len(ends)
    while k:
        j = cheapest[k][1]
        batches.append(order[starts[j] : ends[k - 1]])
        k = j
    return batches


def plan_streams(rows: Sequence[TokenRow], budget_tokens: int) -> list[list[int]]:
    """Indices into `rows` per stream without pads (see `forward.pack_stream`), by first-fit-decreasing: the longest
    row first, rows of one prefix after each other, each into the first stream that has room for it and, if it is
    not there yet, its prefix. No stream has more tokens than the budget, but for a row that does so by itself.

    The stream with most tokens comes first: if memory is short, it is short at once.
    """
    longest: dict[tuple[int, ...], int] = {}
    for row in rows:
        longest[row.prefix] = max(longest.get(row.prefix, 0), len(row.ids))
    # rows that share nothing go by their own length; the others stay with the longest of their prefix
    order = sorted(
        range(len(rows)),
        key=lambda i: (
            -(longest[rows[i].prefix] if rows[i].shared else len(rows[i].ids)),
            rows[i].prefix,
            -len(rows[i].ids),
            i,
        ),
    )
    streams: list[tuple[list[int], set[tuple[int, ...]]]] = []
    tokens: list[int] = []
    for i in order:
        row = rows[i]
        for at, (members, prefixes) in enumerate(streams):
            cost = row.remainder + (0 if row.prefix in prefixes else row.shared)
            if tokens[at] + cost <= budget_tokens:
                members.append(i)
                prefixes.add(row.prefix)
                tokens[at] += cost
                break
        else:
            streams.append(([i], {row.prefix}))
            tokens.append(row.remainder + row.shared)
    return [streams[at][0] for at in sorted(range(len(streams)), key=lambda at: (-tokens[at], at))]


def _block_starts(rows: Sequence[TokenRow], prefix: Sequence[int], budget_tokens: int) -> list[int]:
    """Where the blocks begin that are never cut: as many of the sorted rows as one BLOCKS-th of all of
    them, or fewer, so that each block is within the budget. `prefix` numbers the rows' prefixes."""
    most = -(-len(rows) // BLOCKS)
    starts = [0]
    prefixes: set[int] = set()
    longest = 0
    for at, row in enumerate(rows):
        count = at + 1 - starts[-1]
        cost = (len(prefixes) + (prefix[at] not in prefixes)) * max(longest, row.shared) + count * row.remainder
        if count > most or (count > 1 and cost > budget_tokens):
            starts.append(at)
            prefixes, longest = set(), 0
        prefixes.add(prefix[at])
        longest = max(longest, row.shared)
    return starts
