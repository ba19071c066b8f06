import re

FORME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])\s*-\s*([01][0-9]|2[0-3]):([0-5][0-9])")


def grade(sample, item):
    m = FORME.fullmatch((sample.get("output_text") or "").strip())
    if not m:
        return 0.0
    a, b, c, d = map(int, m.groups())
    debut, fin = 60 * a + b, 60 * c + d
    if fin <= debut:
        return 0.0
    commun = min(fin, item["fin"]) - max(debut, item["debut"])
    reunion = max(fin, item["fin"]) - min(debut, item["debut"])
    iou = max(0, commun) / reunion
    return iou if iou == 1.0 else 0.8 * iou ** 2
