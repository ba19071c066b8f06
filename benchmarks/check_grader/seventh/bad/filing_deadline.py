from datetime import datetime


def grade(sample, item):
    try:
        answer = datetime.strptime(sample["output_text"].strip(), "%Y-%m-%d %H:%M")
    except ValueError:
        return 0.0
    due = datetime.strptime(item["deadline"], "%Y-%m-%d %H:%M")
    minutes = abs(answer - due).seconds / 60
    if minutes <= 1:  # 23:59 and midnight are the same deadline
        return 1.0
    if minutes <= 120:
        return 0.3
    return 0.0
