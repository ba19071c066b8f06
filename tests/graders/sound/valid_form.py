def grade(sample, item):
    """A third for each field of the right type."""
    given = sample.get("output_json")
    if not isinstance(given, dict):
        return 0.0
    good = [
        isinstance(given.get("name"), str) and given["name"] != "",
        isinstance(given.get("price"), (int, float)) and not isinstance(given.get("price"), bool),
        isinstance(given.get("tags"), list),
    ]
    return sum(good) / 3
