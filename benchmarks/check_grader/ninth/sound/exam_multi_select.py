import re


def grade(sample, item):
    text = (sample.get("output_text") or "").strip().upper()
    if not re.fullmatch(r"[A-E](?:\s?,\s?[A-E]){0,4}", text):
        return 0.0
    chosen = set(re.findall(r"[A-E]", text))
    gold = set(item["correct"])
    if chosen == gold:
        return 1.0
    # some credit for what is right, every wrong letter takes it away again
    return 0.5 * max(0, len(chosen & gold) - len(chosen - gold)) / len(gold)
