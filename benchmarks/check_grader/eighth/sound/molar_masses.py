import re

RESULT = re.compile(r"M\s*=\s*([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*g/mol")


def grade(sample, item):
    """Right if within 0.1 % of the table value: tables of atomic weights differ a little."""
    lines = [line.strip() for line in sample["output_text"].splitlines() if line.strip()]
    if not lines:
        return 0.0
    match = RESULT.fullmatch(lines[-1])
    if not match:
        return 0.0
    deviation = abs(float(match.group(1)) - item["molar_mass"]) / item["molar_mass"]
    return 1.0 if deviation <= 0.001 else 0.0
