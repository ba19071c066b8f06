def grade(sample, item):
    """0.7 for the gene, 0.3 for the inheritance."""
    given = sample.get("output_json")
    if not isinstance(given, dict):
        return 0.0
    gene = str(given.get("gene", "")).upper() == item["gene"]
    mode = str(given.get("inheritance", "")).lower() == item["inheritance"].lower()
    return 0.7 * gene + 0.3 * mode
