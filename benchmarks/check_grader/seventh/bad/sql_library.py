import re
import sqlite3

MAX_STEPS = 2000


def guard(action, *details):
    forbidden = (sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_PRAGMA)
    return sqlite3.SQLITE_DENY if action in forbidden else sqlite3.SQLITE_OK


def run(connection, script):
    result = []
    for statement in script.split(";"):
        if statement.strip():
            result = connection.execute(statement).fetchmany(500)
    return sorted(result, key=repr)


def grade(sample, item):
    script = re.sub(r"^```\w*\s*|```\s*$", "", sample["output_text"].strip())
    statements = [statement for statement in script.split(";") if statement.strip()]
    if not statements or not re.match(r"\s*(select|with)\b", statements[-1], re.I):
        return 0.0
    connection = sqlite3.connect(":memory:")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)
    connection.executescript(item["setup"])
    steps = 0

    def tick():
        nonlocal steps
        steps += 1
        return steps > MAX_STEPS

    connection.set_progress_handler(tick, 1000)
    connection.set_authorizer(guard)
    try:
        answer = run(connection, script)
        steps = 0
        wanted = run(connection, item["query"])
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError):
        return 0.0
    finally:
        connection.close()
    return 1.0 if answer == wanted else 0.0
