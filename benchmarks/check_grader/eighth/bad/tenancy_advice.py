"""Scores advice on tenancy questions by the points that our solicitors marked as essential."""


def normalise(text):
    return " ".join(text.lower().replace("\u2019", "'").split())


def grade(sample, item):
    answer = normalise(sample["output_text"])
    points = [normalise(p) for p in item["key_points"]]
    covered = [p for p in points if p in answer]
    return {"score": len(covered) / len(points), "metrics": {"covered": len(covered)}}
