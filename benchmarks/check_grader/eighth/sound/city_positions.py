import math
import re

PAIR = re.compile(r"\s*(-?[0-9]{1,3}(?:\.[0-9]{1,8})?)\s*,\s*(-?[0-9]{1,3}(?:\.[0-9]{1,8})?)\s*")
EARTH_KM = 6371.0


def distance_km(lat1, lon1, lat2, lon2):
    p1, p2 = math.radians(lat1), math.radians(lat2)
    dp, dl = p2 - p1, math.radians(lon2 - lon1)
    h = math.sin(dp / 2) ** 2 + math.cos(p1) * math.cos(p2) * math.sin(dl / 2) ** 2
    return 2 * EARTH_KM * math.asin(math.sqrt(min(1.0, h)))


def grade(sample, item):
    m = PAIR.fullmatch(sample["output_text"])
    if m is None:
        return 0.0
    lat, lon = float(m[1]), float(m[2])
    if abs(lat) > 90 or abs(lon) > 180:
        return 0.0
    km = distance_km(lat, lon, item["lat"], item["lon"])
    # 25 km is inside the city, 250 km is somewhere else
    return max(0.0, min(1.0, (250 - km) / 225))
