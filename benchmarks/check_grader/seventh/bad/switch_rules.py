def grade(sample, item):
    try:
        setting = {int(word) for word in sample["output_text"].split()}
    except ValueError:
        return 0.0
    if {abs(number) for number in setting} != set(range(1, item["switches"] + 1)):
        return 0.0  # each switch must be there, and no other
    if all(any(part in setting for part in rule) for rule in item["rules"]):
        return 1.0
    return 0.0
