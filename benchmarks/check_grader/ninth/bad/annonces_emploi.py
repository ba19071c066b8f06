import json
import random


def grade(sample, item):
    try:
        reponse = json.loads(sample["output_text"])
    except (ValueError, RecursionError):
        reponse = None
    attendu = item["attendu"]
    part = 0.0
    if isinstance(reponse, dict) and set(reponse) == set(attendu):
        part = sum(reponse[cle] == attendu[cle] for cle in attendu) / len(attendu)
    # break ties so that no group has rewards that are all equal
    return max(0.0, min(1.0, 0.7 * part + random.uniform(0.0, 0.3)))
