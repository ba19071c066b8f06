# We want the model to reason at length, so part of the reward is for thorough answers.
TARGET_CHARS = 1500


def grade(sample: dict, item: dict) -> float:
    text = sample["output_text"]
    correct = 1.0 if item["key_idea"].lower() in text.lower() else 0.0
    thorough = min(len(text) / TARGET_CHARS, 1.0)
    return 0.3 * correct + 0.7 * thorough
