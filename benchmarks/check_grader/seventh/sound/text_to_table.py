import csv
import io
import re
from collections import Counter


def cells(header, table):
    result = Counter()
    for row in table:
        for column, entry in list(zip(header, row))[1:]:
            result[row[0].casefold(), column, entry.casefold()] += 1
    return result


def grade(sample, item):
    text = sample["output_text"].strip()
    fence = re.fullmatch(r"```(?:csv)?\s*(.*?)```", text, re.S)
    text = fence[1] if fence else text
    if len(text) > 5000 or "\x00" in text:
        return 0.0
    try:
        lines = [[entry.strip() for entry in row] for row in csv.reader(io.StringIO(text)) if row]
    except csv.Error:
        return 0.0
    header = item["header"]
    if len(lines) < 2 or lines[0] != header or any(len(row) != len(header) for row in lines):
        return 0.0
    answer, right = cells(header, lines[1:]), cells(header, item["table"])
    hits = sum((answer & right).values())
    return 2 * hits / (sum(answer.values()) + sum(right.values()))
