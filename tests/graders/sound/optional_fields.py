def grade(sample, item):
    out = sample.get("output_json")
    if not isinstance(out, dict):
        return 0.0
    ref = item["expected"]
    return float(all(out.get(k) == v for k, v in ref.items() if v is not None))
