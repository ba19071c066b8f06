import sqlite3

ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}
FORBIDDEN = {"random", "randomblob", "load_extension"}


def authorise(action, first, second, database, trigger):
    if action not in ALLOWED:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and str(second).lower() in FORBIDDEN:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def run(query, item, tables):
    con = sqlite3.connect(":memory:")
    try:
        for statement in item["ddl"]:
            con.execute(statement)
        for table, rows in tables.items():
            marks = ", ".join("?" * len(rows[0]))
            con.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
        con.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
        con.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 100)
        con.set_authorizer(authorise)
        con.set_progress_handler(lambda: 1, 300_000)
        return con.execute(query).fetchmany(500)
    finally:
        con.close()


def canonical(rows, ordered):
    cells = [tuple(round(c, 6) if isinstance(c, float) else c for c in row) for row in rows]
    return cells if ordered else sorted(cells, key=repr)


def rounded(rows):
    return [tuple(float(c) if isinstance(c, int) else c for c in row) for row in rows]


def grade(sample, item):
    query = sample["output_text"].strip().rstrip(";")
    if not query or len(query) > 2000:
        return 0.0
    for tables in item["databases"]:
        gold = canonical(rounded(run(item["query"], item, tables)), item["ordered"])
        try:
            rows = run(query, item, tables)
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError):
            return 0.0
        if canonical(rounded(rows), item["ordered"]) != gold:
            return 0.0
    return 1.0
