import json
import re


def canonical(call):
    if not isinstance(call, dict) or set(call) != {"tool", "args"} or not isinstance(call["args"], dict):
        return None
    args = {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in call["args"].items()}
    return json.dumps([call["tool"], args], sort_keys=True)


def common(a, b):
    line = [0] * (len(b) + 1)
    for x in a:
        before = line[:]
        for j, y in enumerate(b):
            line[j + 1] = before[j] + 1 if x == y else max(before[j + 1], line[j])
    return line[-1]


def grade(sample, item):
    text = sample["output_text"].strip()
    fence = re.fullmatch(r"```(?:json)?\s*(.*?)```", text, re.S)
    try:
        calls = json.loads(fence[1] if fence else text)
        if not isinstance(calls, list) or not 1 <= len(calls) <= 20:
            return 0.0
        answer = [canonical(call) for call in calls]
    except (ValueError, RecursionError, OverflowError):
        return 0.0
    right = [canonical(call) for call in item["calls"]]
    if answer == right:
        return 1.0
    # part of the way: calls in the right order, and too many cost as much as too few
    return 0.5 * common(answer, right) / max(len(answer), len(right))
