BASE = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
SIGNS = {"": 0, "#": 1, "b": -1, "##": 2, "bb": -2}


def pitch_class(note):
    if note[:1] not in BASE or note[1:] not in SIGNS:
        return None
    return (BASE[note[0]] + SIGNS[note[1:]]) % 12


def grade(sample, item):
    played = [pitch_class(n) for n in sample["output_text"].split()]
    wanted = [pitch_class(n) for n in item["notes"]]
    if played == wanted:
        return 1.0
    same = sum(p == w for p, w in zip(played, wanted) if p is not None)
    return 0.5 * same / max(len(played), len(wanted))
