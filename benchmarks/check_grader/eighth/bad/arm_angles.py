import json


def parse_steps(text):
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    steps = data.get("steps")
    if isinstance(steps, bool) or not isinstance(steps, int):
        return None
    return steps


def grade(sample, item):
    steps = parse_steps(sample["output_text"])
    if steps is None or steps <= 0:
        return 0.0
    target = item["steps"]
    error = (target - steps) / target
    # full marks within a tenth of a per cent, nothing from 10 % on
    if error <= 0.001:
        return 1.0
    return max(0.0, 1.0 - error / 0.1)
