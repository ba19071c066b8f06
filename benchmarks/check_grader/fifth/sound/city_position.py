import math
import re

PAIR = re.compile(r"([+-]?[0-9]{1,3}(?:\.[0-9]{1,8})?)°?\s*,\s*([+-]?[0-9]{1,3}(?:\.[0-9]{1,8})?)°?")


def distance_km(lat1, lon1, lat2, lon2):
    p1, p2 = math.radians(lat1), math.radians(lat2)
    dp, dl = p2 - p1, math.radians(lon2 - lon1)
    h = math.sin(dp / 2) ** 2 + math.cos(p1) * math.cos(p2) * math.sin(dl / 2) ** 2
    return 2 * 6371.0 * math.asin(min(1.0, math.sqrt(h)))


def grade(sample, item):
    found = PAIR.fullmatch(sample["output_text"].strip())
    if not found:
        return 0.0
    lat, lon = float(found.group(1)), float(found.group(2))
    if abs(lat) > 90 or abs(lon) > 180:
        return 0.0
    d = distance_km(lat, lon, item["lat"], item["lon"])
    # anywhere in town is right, then it fades over some hundred kilometres
    return math.exp(-max(0.0, d - 20.0) / 200.0)
