import random
import sqlite3

SCHEMA = """CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT, country TEXT);
CREATE TABLE orders(id INTEGER PRIMARY KEY, customer_id INT, placed TEXT, total REAL, status TEXT);"""


def database(seed):
    rng = random.Random(seed)
    db = sqlite3.connect(":memory:")
    db.executescript(SCHEMA)
    people = rng.sample(range(100, 999), 14)
    db.executemany("INSERT INTO customer VALUES (?,?,?)",
                   [(i, "Cust%d" % n, rng.choice(["ES", "FR", "DE", "PL"])) for i, n in enumerate(people, 1)])
    days = rng.sample(range(700), 40)
    db.executemany("INSERT INTO orders VALUES (?,?,?,?,?)",
                   [(k, rng.randint(1, 10), "%d-%02d-%02d" % (2024 + d // 336, d % 336 // 28 + 1, d % 28 + 1),
                     rng.randint(500, 90000) / 100, rng.choice(["open", "paid", "void"]))
                    for k, d in enumerate(days, 1)])
    db.commit()
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100000)
    allowed = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}
    db.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY)
    budget = [400]
    def tick():
        budget[0] -= 1
        return budget[0] < 0
    db.set_progress_handler(tick, 1000)
    return db


def clean(rows):
    return [tuple(round(v, 4) if isinstance(v, float) else v for v in r) for r in rows]


def grade(sample, item):
    query = (sample.get("output_text") or "").strip().rstrip(";")
    for seed in (11, 23, 47):
        db = database(seed)
        gold = clean(db.execute(item["sql"]).fetchall())
        try:
            got = clean(db.execute(query).fetchmany(500))
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError):
            return 0.0
        finally:
            db.close()
        if not item["ordered"]:
            gold, got = sorted(gold, key=repr), sorted(got, key=repr)
        if got != gold:
            return 0.0
    return 1.0
