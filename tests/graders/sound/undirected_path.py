def grade(sample, item):
    p = [x.strip() for x in sample["output_text"].split(",")]
    g = [x.strip() for x in item["path"].split(",")]
    return float(p == g or p == g[::-1])
