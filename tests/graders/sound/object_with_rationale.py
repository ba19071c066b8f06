def grade(sample, item):
    out = sample.get("output_json")
    if not isinstance(out, dict):
        return 0.0
    return float(out.get("answer") == item["reference"]["answer"])
