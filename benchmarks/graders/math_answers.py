"""Comparisons a second of the grader `math`, beside math-verify called directly.

    python benchmarks/graders/math_answers.py

Every answer is new, so nothing is read twice. The direct calls parse and verify in this process; the grader
asks one process through pipes, with its time limit.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from itertools import count, islice

from rft_core import Group, Item, Rollout
from rft_grader_math.child import compare
from rft_grader_math.config import MathConfig
from rft_grader_math.grader import MathGrader

FORMS = {
    "numbers": (r"\frac{{{0}}}{{2}}", "{0}.5", "{0}", r"{0}\%"),
    "expressions": (r"{0}^2 - {0}", r"\sqrt{{{0}}}", r"({0} + x)^2"),
}
GOLD = r"\frac{7}{2}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--answers", type=int, default=240, help="Answers in one measurement, in groups of 16.")
    arguments = parser.parse_args()
    logging.disable()
    grader = MathGrader(MathConfig(reference="{{item.answer}}", extract="whole", processes=1))
    grader.grade(group_of(["1", "2"]))
    print("| answers | direct | grader | ratio |\n|---|---|---|---|")
    for kind, forms in FORMS.items():
        fresh = (forms[n % len(forms)].format(n) for n in count(10))
        rates: dict[str, list[float]] = {"direct": [], "grader": []}
        for _ in range(arguments.repeats):
            answers = list(islice(fresh, arguments.answers))
            start_s = time.perf_counter()
            for answer in answers:
                compare(GOLD, answer)
            rates["direct"].append(len(answers) / (time.perf_counter() - start_s))
            groups = [group_of(list(islice(fresh, 16))) for _ in range(arguments.answers // 16)]
            start_s = time.perf_counter()
            for group in groups:
                if any(grade.reward is None for grade in grader.grade(group)):
                    raise SystemExit("a comparison failed")
            rates["grader"].append(16 * len(groups) / (time.perf_counter() - start_s))
        one, other = (statistics.median(found) for found in rates.values())
        ratio = statistics.median([g / d for g, d in zip(rates["grader"], rates["direct"], strict=True)])
        print(f"| {kind} | {one:,.0f}/s | {other:,.0f}/s | {ratio:.2f} |", flush=True)
    grader.close()


def group_of(answers: list[str]) -> Group:
    rollouts = tuple(
        Rollout(ordinal=0, sample=n, seed=n, segments=(), text=text, finish_reason="stop")
        for n, text in enumerate(answers)
    )
    row = {"messages": [{"role": "user", "content": "?"}], "answer": GOLD}
    return Group(ordinal=0, item=Item(key="k", index=0, row=row), rollouts=rollouts)


if __name__ == "__main__":
    main()
