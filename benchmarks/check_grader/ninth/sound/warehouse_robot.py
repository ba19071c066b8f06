MOVES = {"U": (-1, 0), "D": (1, 0), "L": (0, -1), "R": (0, 1)}


def grade(sample, item):
    path = (sample.get("output_text") or "").strip()
    if not path or len(path) > item["max_moves"]:
        return 0.0
    rows = item["map"]
    at = next((r, line.index("S")) for r, line in enumerate(rows) if "S" in line)
    for letter in path:
        if letter not in MOVES:
            return 0.0
        r, c = at[0] + MOVES[letter][0], at[1] + MOVES[letter][1]
        if not (0 <= r < len(rows) and 0 <= c < len(rows[0])) or rows[r][c] == "#":
            return 0.0
        at = (r, c)
    return 1.0 if rows[at[0]][at[1]] == "G" else 0.0
