"""Runs one SELECT on two small databases; the rows must be the same in both, in any order."""
import re
import sqlite3

SCHEMA = "CREATE TABLE staff(id INTEGER, name TEXT, team TEXT, salary INTEGER, hired INTEGER)"
READ_ONLY = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}
MAX_TICKS = 200


def _key(rows):
    return sorted(repr([round(v, 6) if isinstance(v, float) else v for v in row]) for row in rows)


def _run(query, rows):
    db = sqlite3.connect(":memory:")
    try:
        db.execute(SCHEMA)
        db.executemany("INSERT INTO staff VALUES (?, ?, ?, ?, ?)", rows)
        db.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in READ_ONLY else sqlite3.SQLITE_DENY)
        ticks = [0]

        def tick():
            ticks[0] += 1
            return int(ticks[0] > MAX_TICKS)

        db.set_progress_handler(tick, 1000)
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)
        return db.execute(query).fetchmany(100)
    finally:
        db.close()


def grade(sample: dict, item: dict) -> float:
    text = sample["output_text"].strip()
    fence = re.fullmatch(r"```(?:sql)?\s*(.*?)\s*```", text, re.S | re.I)
    query = (fence.group(1) if fence else text).rstrip("; \n")
    if not query or len(query) > 2000:
        return 0.0
    try:
        good = all(_key(_run(query, d["rows"])) == _key(d["result"]) for d in item["databases"])
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError):
        return 0.0
    return 1.0 if good else 0.0
