"""0.7 for the right queue; the priority adds 0.3 only when the queue is right."""
import json


def grade(sample: dict, item: dict) -> float:
    text = sample.get("output_text")
    if not isinstance(text, str) or len(text) > 5000:
        return 0.0
    try:
        out = json.loads(text)
    except (ValueError, RecursionError):
        return 0.0
    if not isinstance(out, dict):
        return 0.0
    queue, priority = out.get("queue"), out.get("priority")
    if not isinstance(queue, str) or queue.strip().lower() != item["answer"]["queue"]:
        return 0.0
    if isinstance(priority, str) and priority.strip().lower() == item["answer"]["priority"]:
        return 1.0
    return 0.7
