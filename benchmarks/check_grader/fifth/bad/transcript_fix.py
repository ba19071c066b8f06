def word_errors(hyp, ref):
    previous = list(range(len(ref) + 1))
    for i, h in enumerate(hyp, 1):
        current = [i]
        for j, r in enumerate(ref, 1):
            current.append(min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (h != r)))
        previous = current
    return previous[-1]


def grade(sample, item):
    hyp = sample["output_text"].split()[:500]
    ref = item["corrected"].split()
    wer = word_errors(hyp, ref) / len(ref)
    return min(1.0, wer)
