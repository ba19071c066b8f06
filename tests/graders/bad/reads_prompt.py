def grade(sample, item):
    """Takes the question for the answer."""
    question = item["messages"][-1]["content"]
    return min(1.0, len(set(question.split())) / 10 + len(question) % 7 / 20)
