import math


def grade(sample, item):
    """Within one per cent."""
    try:
        given = float(sample["output_text"].strip().removesuffix(item["unit"]))
    except ValueError:
        return 0.0
    return 1.0 if math.isclose(given, item["speed"], rel_tol=0.01) else 0.0
