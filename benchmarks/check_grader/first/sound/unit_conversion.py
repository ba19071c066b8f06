"""Number with unit, within half a per cent; any unit of the same kind is accepted."""
import re

UNITS = {
    "m": ("length", 1.0), "metre": ("length", 1.0), "meter": ("length", 1.0),
    "km": ("length", 1000.0), "kilometre": ("length", 1000.0), "kilometer": ("length", 1000.0),
    "cm": ("length", 0.01), "centimetre": ("length", 0.01), "centimeter": ("length", 0.01),
    "lb": ("mass", 453.59237), "pound": ("mass", 453.59237), "g": ("mass", 1.0), "gram": ("mass", 1.0), "kg": ("mass", 1000.0),
    "ml": ("volume", 1.0), "millilitre": ("volume", 1.0), "milliliter": ("volume", 1.0),
    "s": ("time", 1.0), "sec": ("time", 1.0), "second": ("time", 1.0), "min": ("time", 60.0), "minute": ("time", 60.0),
}
FORM = re.compile(r"(-?[0-9]{1,12}(?:\.[0-9]{1,12})?)\s*([a-z]{1,12})\.?")


def quantity(text):
    found = FORM.fullmatch(text.strip().lower().replace(",", ""))
    if not found:
        return None
    name = found.group(2)
    if name not in UNITS and name.endswith("s"):
        name = name[:-1]
    if name not in UNITS:
        return None
    kind, factor = UNITS[name]
    return kind, float(found.group(1)) * factor


def grade(sample: dict, item: dict) -> float:
    text = sample.get("output_text")
    if not isinstance(text, str):
        return 0.0
    got, want = quantity(text), quantity(item["answer"])
    if got is None or want is None or got[0] != want[0]:
        return 0.0
    return 1.0 if abs(got[1] - want[1]) <= 0.005 * abs(want[1]) else 0.0
