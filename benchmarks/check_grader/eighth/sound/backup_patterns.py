import fnmatch
import re


def share(flags):
    return sum(flags) / len(flags)


def grade(sample, item):
    pattern = sample["output_text"].strip()
    if not pattern or len(pattern) > 60:
        return 0.0
    try:
        hits = share([fnmatch.fnmatchcase(name, pattern) for name in item["must"]])
        rejects = share([not fnmatch.fnmatchcase(name, pattern) for name in item["must_not"]])
    except re.error:
        return 0.0
    if hits == rejects == 1:
        return 1.0
    # the product, so that a pattern that takes all or none earns nothing
    return 0.4 * hits * rejects
