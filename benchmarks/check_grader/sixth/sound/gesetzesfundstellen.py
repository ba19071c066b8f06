def norm(text):
    return "".join(text.casefold().split()).rstrip(".")


def grade(sample, item):
    return float(norm(sample["output_text"]) in {norm(a) for a in item["accepted"]})
