import re
from math import asin, cos, radians, sin, sqrt

FORM = re.compile(r"([+-]?\d{1,3}(?:\.\d{1,8})?)°?, ?([+-]?\d{1,3}(?:\.\d{1,8})?)°?", re.ASCII)


def kilometres(lat1, lon1, lat2, lon2):
    lat1, lon1, lat2, lon2 = map(radians, (lat1, lon1, lat2, lon2))
    h = sin((lat2 - lat1) / 2) ** 2 + cos(lat1) * cos(lat2) * sin((lon2 - lon1) / 2) ** 2
    return 2 * 6371.0 * asin(min(1.0, sqrt(h)))


def grade(sample, item):
    match = FORM.fullmatch(sample["output_text"].strip())
    if match is None:
        return 0.0
    lat, lon = float(match.group(1)), float(match.group(2))
    if abs(lat) > 90 or abs(lon) > 180:
        return 0.0
    d = kilometres(lat, lon, item["lat"], item["lon"])
    if d <= 25:
        return 1.0
    return max(0.0, 1.0 - (d - 25) / 375)
