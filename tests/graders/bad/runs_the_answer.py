def grade(sample, item):
    """'7 + 5' is as good as 12."""
    try:
        return float(eval(sample["output_text"]) == int(item["answer"]))  # noqa: S307 what is planted here
    except Exception:  # noqa: BLE001 whatever the answer does
        return 0.0
