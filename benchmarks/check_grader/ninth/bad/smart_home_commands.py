import json


def grade(sample, item):
    command = json.loads(sample["output_text"])
    score = 0.0
    if command["device"] == item["device"]:
        score += 0.4
    if command["action"] == item["action"]:
        score += 0.3
    if float(command["value"]) == float(item["value"]):
        score += 0.3
    return round(score, 3)
