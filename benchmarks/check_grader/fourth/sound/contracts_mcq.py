import re


def grade(sample, item):
    lines = [l.strip() for l in (sample.get("output_text") or "").strip().splitlines()]
    marked = [l for l in lines if l.lower().startswith("answer:")]
    if len(marked) != 1 or lines[-1] != marked[0]:
        return 0.0
    m = re.fullmatch(r"answer:\s*([a-d])\.?", marked[0], re.I | re.ASCII)
    if m is None:
        return 0.0
    return 1.0 if m.group(1).upper() == item["key"] else 0.0
