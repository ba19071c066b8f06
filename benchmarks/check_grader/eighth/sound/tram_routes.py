def travel_time(route, links):
    """Minutes of the route, or None if two neighbours in it have no link."""
    minutes = {}
    for a, b, m in links:
        minutes[a, b] = minutes[b, a] = m
    total = 0
    for pair in zip(route, route[1:]):
        if pair not in minutes:
            return None
        total += minutes[pair]
    return total


def grade(sample, item):
    route = [stop.strip() for stop in sample["output_text"].split(">")]
    if len(route) < 2 or len(set(route)) != len(route):
        return 0.0
    if route[0] != item["from"] or route[-1] != item["to"]:
        return 0.0
    total = travel_time(route, item["links"])
    if total is None:
        return 0.0
    if total == item["minutes"]:
        return 1.0
    # a route that works but takes longer: at most half
    return 0.5 * item["minutes"] / total
