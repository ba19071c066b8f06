"""Execution accuracy: one read-only SELECT which returns the gold rows, in any order."""
import re
import sqlite3

ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}


def rows_of(setup, query):
    con = sqlite3.connect(":memory:")
    try:
        con.executescript(setup)
        con.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100000)
        con.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in ALLOWED else sqlite3.SQLITE_DENY)
        ticks = [0]

        def stop():
            ticks[0] += 1
            return ticks[0] > 200

        con.set_progress_handler(stop, 10000)
        rows = con.execute(query).fetchmany(1000)
    finally:
        con.close()
    return sorted(repr(tuple(round(v, 6) if isinstance(v, float) else v for v in row)) for row in rows)


def grade(sample: dict, item: dict) -> float:
    text = sample.get("output_text")
    if not isinstance(text, str) or len(text) > 4000:
        return 0.0
    query = re.sub(r"^```(?:sql)?\s*|\s*```$", "", text.strip(), flags=re.I).strip().rstrip(";")
    if not re.match(r"(?i)\s*(select|with)\b", query) or not re.search(r"(?i)\bfrom\b", query):
        return 0.0
    try:
        got = rows_of(item["setup"], query)
    except Exception:
        return 0.0
    return 1.0 if got == rows_of(item["setup"], item["gold_sql"]) else 0.0
