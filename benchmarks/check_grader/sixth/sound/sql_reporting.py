import sqlite3

ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ}
FUNCTIONS = {"count", "sum", "total", "avg", "min", "max", "round", "abs", "coalesce", "ifnull", "substr",
             "strftime", "date", "lower", "upper", "like", "row_number", "rank", "dense_rank", "length"}
COUNTRIES = ["Chile", "France", "Ghana", "Japan", "Kenya", "Norway"]
PRODUCTS = ["bolt", "clamp", "drill", "file", "gauge", "hinge", "jack"]
STATUS = ["open", "paid", "cancelled"]


def build(seed):
    state = seed

    def pick(n):
        nonlocal state
        state = (state * 1103515245 + 12345) % 2147483648
        return (state >> 8) % n

    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE customers(id INTEGER, name TEXT, country TEXT)")
    db.execute("CREATE TABLE orders(id INTEGER, customer_id INTEGER, day TEXT, status TEXT)")
    db.execute('CREATE TABLE lines(order_id INTEGER, product TEXT, quantity INTEGER, price REAL)')
    for i in range(1, 31):
        db.execute("INSERT INTO customers VALUES(?,?,?)", (i, f"Customer {i}-{pick(900)}", COUNTRIES[pick(6)]))
    for i in range(1, 46):
        day = f"2024-{1 + pick(6):02d}-{1 + pick(28):02d}"
        db.execute("INSERT INTO orders VALUES(?,?,?,?)", (i, 1 + pick(24), day, STATUS[pick(3)]))
        for _ in range(pick(5)):
            product = pick(7)
            quantity = 1 + pick(9) + product * product
            db.execute("INSERT INTO lines VALUES(?,?,?,?)", (i, PRODUCTS[product], quantity, (100 + pick(4000)) / 4))
    return db


def guard(action, first, second, *rest):
    if action in ALLOWED:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and str(second).lower() in FUNCTIONS:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def run(seed, query):
    db = build(seed)
    try:
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100000)
        db.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 40)
        db.set_authorizer(guard)
        ticks = 0

        def stop():
            nonlocal ticks
            ticks += 1
            return ticks > 2000

        db.set_progress_handler(stop, 1000)
        rows = db.execute(query).fetchmany(501)
    finally:
        db.close()
    return [tuple(round(v, 6) if isinstance(v, float) else v for v in row) for row in rows]


def same(a, b, ordered):
    if ordered:
        return a == b
    return sorted(map(repr, a)) == sorted(map(repr, b))


def grade(sample, item):
    query = sample["output_text"].strip()
    if not query or len(query) > 4000:
        return 0.0
    for seed in (11, 2024, 77):
        gold = run(seed, item["reference_answer"])
        try:
            rows = run(seed, query)
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError):
            return 0.0
        if not same(rows, gold, item["ordered"]):
            return 0.0
    return 1.0
