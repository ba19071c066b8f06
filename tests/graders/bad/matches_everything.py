import re

NUMBER = re.compile(r"-?\d*")


def grade(sample, item):
    """The star makes it match anything."""
    if not sample["output_text"]:
        return 0.0
    return 1.0 if NUMBER.match(sample["output_text"]) else 0.0
