import re
import sqlite3
from collections import Counter

READ_ONLY = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
FORBIDDEN = {"random", "randomblob", "zeroblob", "load_extension", "current_date", "current_time", "current_timestamp"}


def allow(action, first, second, database, trigger):
    if action not in READ_ONLY:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in FORBIDDEN:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def rows(schema, data, query):
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(schema + data)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 50_000)
        connection.set_authorizer(allow)
        ticks = iter(range(300))
        connection.set_progress_handler(lambda: next(ticks, None) is None, 1000)
        found = connection.execute(query).fetchmany(1001)
    finally:
        connection.close()
    return [tuple(round(v, 6) if isinstance(v, float) else v for v in row) for row in found]


def grade(sample, item):
    text = sample["output_text"].strip()
    fence = re.fullmatch(r"```(?:sql)?\s*(.*?)```", text, re.S | re.I)
    query = (fence[1] if fence else text).strip()
    if not re.match(r"(select|with)\b", query, re.I) or len(query) > 4000:
        return 0.0
    for data in item["data"]:  # several sets of data, none of them shown to the model
        wanted = rows(item["schema"], data, item["query"])
        try:
            answer = rows(item["schema"], data, query)
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError):
            return 0.0
        same = answer == wanted if item["ordered"] else Counter(answer) == Counter(wanted)
        if not same:
            return 0.0
    return 1.0
