def grade(sample, item):
    """Jaccard over a list with semicolons."""
    given = {part.strip().lower() for part in sample["output_text"].split(";") if part.strip()}
    wanted = set(item["gold"]["symptoms"])
    return len(given & wanted) / len(given | wanted) if given else 0.0
