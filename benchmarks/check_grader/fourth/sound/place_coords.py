import math
import re

PAIR = re.compile(r"\s*([+-]?\d{1,2}\.\d{1,8})\s*,\s*([+-]?\d{1,3}\.\d{1,8})\s*", re.ASCII)
FULL_KM, ZERO_KM = 5.0, 200.0


def parse(text):
    m = PAIR.fullmatch(text)
    if m is None:
        return None
    lat, lon = float(m.group(1)), float(m.group(2))
    if abs(lat) > 90 or abs(lon) > 180:
        return None
    return math.radians(lat), math.radians(lon)


def distance_km(a, b):
    h = (math.sin((b[0] - a[0]) / 2) ** 2
         + math.cos(a[0]) * math.cos(b[0]) * math.sin((b[1] - a[1]) / 2) ** 2)
    return 2 * 6371.0 * math.asin(min(1.0, math.sqrt(h)))


def grade(sample, item):
    guess = parse(sample.get("output_text") or "")
    if guess is None:
        return 0.0
    km = distance_km(guess, parse(item["position"]))
    return min(1.0, max(0.0, (ZERO_KM - km) / (ZERO_KM - FULL_KM)))
