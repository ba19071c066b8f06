import sqlite3

SCHEMA = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, city TEXT, joined TEXT);
CREATE TABLE products (id INTEGER PRIMARY KEY, title TEXT, category TEXT, price REAL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER, day TEXT);
CREATE TABLE lines (order_id INTEGER, product_id INTEGER, qty INTEGER);
"""


def run(sql):
    con = sqlite3.connect(":memory:")
    try:
        con.executescript(SCHEMA)
        con.execute("PRAGMA query_only = ON")
        con.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1_000_000)
        budget = [200]  # stop queries that run away

        def tick():
            budget[0] -= 1
            return budget[0] < 0

        con.set_progress_handler(tick, 10_000)
        return sorted(map(repr, con.execute(sql).fetchmany(1000)))
    finally:
        con.close()


def grade(sample, item):
    sql = sample["output_text"].strip()
    if not sql.lower().startswith("select"):
        return 0.0
    try:
        got = run(sql)
    except (sqlite3.Error, sqlite3.Warning, ValueError):
        return 0.0
    return 1.0 if got == run(item["query"]) else 0.0
