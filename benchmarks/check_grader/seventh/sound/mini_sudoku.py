def grade(sample, item):
    lines = [line.replace(" ", "") for line in sample["output_text"].strip().splitlines()]
    if [len(line) for line in lines] != [4, 4, 4, 4]:
        return 0.0
    for given, line in zip(item["puzzle"], lines):
        if any(g not in (".", c) for g, c in zip(given, line)):
            return 0.0
    groups = lines + ["".join(column) for column in zip(*lines)]
    groups += [lines[y][x:x + 2] + lines[y + 1][x:x + 2] for y in (0, 2) for x in (0, 2)]
    return 1.0 if all(sorted(group) == list("1234") for group in groups) else 0.0
