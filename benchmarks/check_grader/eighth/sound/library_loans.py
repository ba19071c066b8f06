import sqlite3

SCHEMA = """
CREATE TABLE books (id INTEGER, title TEXT, genre TEXT, year INTEGER);
CREATE TABLE readers (id INTEGER, name TEXT, born INTEGER);
CREATE TABLE loans (book_id INTEGER, reader_id INTEGER, out_day TEXT, back_day TEXT);
"""

# two libraries: a query must be right about both
LIBRARIES = [
    """
    INSERT INTO books VALUES (1,'Harbour Mist','crime',1974),(2,'Salt','poetry',1969),(3,'The Ninth Key','crime',2003),
        (4,'Orchids','garden',1991),(5,'Low Tide','novel',1958),(6,'Ash Lane','novel',2015);
    INSERT INTO readers VALUES (1,'Ines',1994),(2,'Tomas',1981),(3,'Wanja',2001),(4,'Ruth',1950);
    INSERT INTO loans VALUES (1,1,'2024-03-02','2024-03-20'),(1,2,'2024-04-01',NULL),(3,1,'2024-03-28',NULL),
        (5,1,'2023-03-05','2023-04-01'),(6,3,'2024-05-11',NULL),(4,1,'2024-06-01',NULL);
    """,
    """
    INSERT INTO books VALUES (10,'Blue Door','crime',1949),(11,'Winter Bees','garden',1977),(12,'Echo','poetry',1975),
        (13,'Marl','novel',1979),(14,'Two Rivers','novel',1980),(15,'Knots','crafts',2020),(16,'Night Bus','crime',2011),
        (17,'Fern','garden',2018);
    INSERT INTO readers VALUES (5,'Otto',1990),(6,'Ines',1991),(7,'Lea',1966),(8,'Piet',2010),(9,'Mara',1999);
    INSERT INTO loans VALUES (10,6,'2024-03-31',NULL),(12,6,'2024-03-01','2024-03-09'),(10,8,'2022-01-01','2022-02-01'),
        (15,7,'2024-02-29',NULL),(15,7,'2024-03-15','2024-03-16'),(15,5,'2024-03-17',NULL),(16,9,'2023-12-24','2024-01-02');
    """,
]
ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}


def answer(sql, library):
    con = sqlite3.connect(":memory:")
    try:
        con.executescript(SCHEMA + library)
        con.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1_000_000)
        con.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in ALLOWED else sqlite3.SQLITE_DENY)
        ticks = iter(range(100))
        con.set_progress_handler(lambda: next(ticks, None) is None, 10_000)
        return sorted(repr(row) for row in con.execute(sql).fetchmany(500))
    finally:
        con.close()


def grade(sample, item):
    sql = sample["output_text"].strip()
    if not sql or len(sql) > 3000:
        return 0.0
    for library in LIBRARIES:
        expected = answer(item["query"], library)
        try:
            got = answer(sql, library)
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError):
            return 0.0
        if got != expected:
            return 0.0
    return 1.0
