import re


def seconds(text):
    match = re.fullmatch(r"(\d{2}):([0-5]\d)-(\d{2}):([0-5]\d)", text.strip())
    if not match:
        return None
    a, b, c, d = map(int, match.groups())
    return 60 * a + b, 60 * c + d


def grade(sample, item):
    answer, right = seconds(sample["output_text"]), seconds(item["segment"])
    if answer is None or answer[1] <= answer[0]:
        return 0.0
    common = min(answer[1], right[1]) - max(answer[0], right[0])
    shorter = min(answer[1] - answer[0], right[1] - right[0])
    return max(0.0, common / shorter)
