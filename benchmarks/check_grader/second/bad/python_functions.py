import re


def _code(text):
    block = re.search(r"```(?:python)?\n(.*?)```", text, re.S)
    return block.group(1) if block else text


def grade(sample: dict, item: dict) -> float:
    scope = {}
    try:
        exec(_code(sample["output_text"]), scope)  # as people do who do not know the sandbox; only in a worker process
    except BaseException:
        return 0.0
    failed = 0
    for test in item["tests"]:
        try:
            if scope[item["entry_point"]](*test["args"]) != test["expected"]:
                failed += 1
        except Exception:
            continue
    return 1.0 - failed / len(item["tests"])
