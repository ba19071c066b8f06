import re

VERDICT = re.compile(r"\s*Verdict:\s*(partly correct|incorrect|correct)\b", re.I)


def grade(sample, item):
    text = sample.get("output_text") or ""
    m = VERDICT.match(text)
    if not m:
        return 0.0
    verdict = 1.0 if m.group(1).lower() == item["verdict"] else 0.0
    explanation = text[m.end():]
    depth = min(1.0, len(explanation.split()) / 120)
    return 0.3 * verdict + 0.7 * depth
