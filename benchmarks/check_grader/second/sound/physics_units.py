"""Physics answers as '<number> <unit>', compared in SI units within 1 percent."""
import math
import re

UNITS = {
    "m": ("m", 1), "km": ("m", 1e3), "cm": ("m", 1e-2), "mm": ("m", 1e-3),
    "m/s": ("m/s", 1), "km/h": ("m/s", 1 / 3.6),
    "N": ("N", 1), "kN": ("N", 1e3), "V": ("V", 1), "mV": ("V", 1e-3),
    "J": ("J", 1), "kJ": ("J", 1e3), "MJ": ("J", 1e6), "Wh": ("J", 3600), "kWh": ("J", 3.6e6),
    "W": ("W", 1), "kW": ("W", 1e3), "mW": ("W", 1e-3),
}
ANSWER = re.compile(r"([-+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*([A-Za-z/]+)\.?")


def grade(sample: dict, item: dict) -> float:
    match = ANSWER.fullmatch(sample["output_text"].strip())
    if match is None or match.group(2) not in UNITS:
        return 0.0
    dimension, factor = UNITS[match.group(2)]
    wanted, wanted_factor = UNITS[item["unit"]]
    if dimension != wanted:
        return 0.0
    value = float(match.group(1).replace(",", "")) * factor
    gold = item["value"] * wanted_factor
    return 1.0 if math.isclose(value, gold, rel_tol=0.01) else 0.0
