import math
import re

# unit -> (dimension, factor to the base unit)
UNITS = {
    "mm": ("length", 0.001), "cm": ("length", 0.01), "m": ("length", 1.0), "km": ("length", 1000.0), "mi": ("length", 1609.344),
    "ml": ("volume", 0.001), "l": ("volume", 1.0), "litre": ("volume", 1.0), "litres": ("volume", 1.0), "m3": ("volume", 1000.0),
    "g": ("mass", 0.001), "kg": ("mass", 1.0), "t": ("mass", 1000.0),
    "s": ("time", 1.0), "sec": ("time", 1.0), "seconds": ("time", 1.0), "min": ("time", 60.0), "minutes": ("time", 60.0),
    "h": ("time", 3600.0), "hours": ("time", 3600.0),
}


def parse(text: str):
    match = re.fullmatch(r"(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*([A-Za-z]+3?)\.?", text.strip())
    if match is None:
        return None
    unit = UNITS.get(match.group(2)) or UNITS.get(match.group(2).lower())
    value = float(match.group(1))
    if unit is None or not math.isfinite(value):
        return None
    return unit[0], value * unit[1]


def grade(sample: dict, item: dict) -> float:
    guess = parse(sample["output_text"])
    truth = parse("%s %s" % (item["value"], item["unit"]))
    if guess is None or truth is None or guess[0] != truth[0]:
        return 0.0
    return 1.0 if abs(guess[1] - truth[1]) <= 0.005 * abs(truth[1]) else 0.0
