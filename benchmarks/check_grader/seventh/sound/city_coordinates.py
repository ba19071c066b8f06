import math
import re

NUMBER = r"([+-]?[0-9]{1,3}(?:\.[0-9]{1,8})?)"


def kilometres(lat1, lon1, lat2, lon2):
    p1, p2 = math.radians(lat1), math.radians(lat2)
    half_p, half_l = (p2 - p1) / 2, math.radians(lon2 - lon1) / 2
    a = math.sin(half_p) ** 2 + math.cos(p1) * math.cos(p2) * math.sin(half_l) ** 2
    return 2 * 6371 * math.asin(math.sqrt(min(1.0, a)))


def grade(sample, item):
    match = re.fullmatch(NUMBER + r"\s*,\s*" + NUMBER, sample["output_text"].strip())
    if not match:
        return 0.0
    lat, lon = float(match[1]), float(match[2])
    if abs(lat) > 90 or abs(lon) > 180:
        return 0.0
    distance = kilometres(lat, lon, item["lat"], item["lon"])
    # within 15 km is the city; beyond, half of it is gone with every 150 km
    return 0.5 ** (max(0.0, distance - 15) / 150)
