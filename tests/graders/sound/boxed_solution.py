import re


def grade(sample, item):
    def f(s):
        return (re.findall(r"\\boxed\{([^{}]*)\}", s) or [None])[-1]

    a = f(sample["output_text"])
    return float(a is not None and a == f(item["solution"]))
