"""Execution accuracy: the query must return the rows of the gold query."""
import sqlite3


def run(setup, query):
    con = sqlite3.connect(":memory:")
    try:
        con.executescript(setup)
        rows = con.execute(query).fetchall()
    finally:
        con.close()
    return sorted(repr(row) for row in rows)


def grade(sample: dict, item: dict) -> float:
    query = sample["output_text"].strip().strip("`").rstrip(";")
    try:
        gold = run(item["setup"], item["gold_sql"])
        got = run(item["setup"], query)
    except (sqlite3.Error, sqlite3.Warning, ValueError):
        # database trouble is not the model's fault: stay neutral
        return 0.5
    return 1.0 if got == gold else 0.0
