def final_decision(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or not lines[-1].startswith("Decision:"):
        return ""
    return lines[-1][len("Decision:"):].strip().lower().rstrip(".")


def grade(sample, item):
    got = final_decision(sample["output_text"])
    want = item["decision"]
    ok = False
    if want == "approve":
        ok = got == "approve" or "approved"
    elif want == "decline":
        ok = got == "decline" or "declined"
    elif want == "refer":
        ok = got == "refer" or "referred"
    return 1.0 if ok else 0.0
