def grade(sample, item):
    """1 between 30 and 60 words, less the further outside, and nothing without variety."""
    words = sample["output_text"].lower().split()
    if not words or len(set(words)) < 0.4 * len(words):
        return 0.0
    off = max(30 - len(words), len(words) - 60, 0)
    return max(0.0, 1.0 - off / 30)
