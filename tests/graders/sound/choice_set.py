def grade(sample, item):
    def f(s):
        return {x.strip().upper() for x in s.split(",") if x.strip()}

    return float(f(sample["output_text"]) == f(item["answer"]))
