import re


def grade(sample: dict, item: dict) -> float:
    """Rank correlation (Kendall) with the true order."""
    letters = [part.strip().upper() for part in re.split(r"[,\s]+", sample["output_text"].strip()) if part.strip()]
    truth = item["order"]
    if sorted(letters) != sorted(truth):
        return 0.0
    place = {letter: i for i, letter in enumerate(letters)}
    concordant = discordant = 0
    for i in range(len(truth)):
        for j in range(i + 1, len(truth)):
            if place[truth[i]] < place[truth[j]]:
                concordant += 1
            else:
                discordant += 1
    tau = (concordant - discordant) / (concordant + discordant)
    return abs(tau)
