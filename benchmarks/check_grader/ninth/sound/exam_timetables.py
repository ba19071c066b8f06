import json


def grade(sample, item):
    try:
        plan = json.loads(sample["output_text"])
    except Exception:
        return {"score": 0.0}
    if not isinstance(plan, dict) or set(plan) != set(item["exams"]):
        return {"score": 0.0}
    if any(type(slot) is not int or slot not in (1, 2, 3) for slot in plan.values()):
        return {"score": 0.0}
    if any(plan[a] == plan[b] for a, b in item["clashes"]):
        return {"score": 0.0}
    return {"score": 1.0}
