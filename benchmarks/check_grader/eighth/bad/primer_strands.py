def grade(sample, item):
    seq = sample["output_text"].strip().upper()
    if not seq or set(seq) - set("ACGT"):
        return 0.0
    truth = item["reverse_complement"]
    same = 0
    for a, b in zip(seq, truth):
        if a == b:
            same += 1
    identity = same / len(seq)
    # random bases match one time in four
    return max(0.0, (identity - 0.25) / 0.75)
