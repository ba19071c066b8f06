import re

# weights agreed with the team, 2024-05
W_ARTICLE = 0.3
W_HELPFUL = 0.7


def helpfulness(reply):
    """Customers rated replies with full explanations best."""
    words = reply.split()
    return min(1.0, len(words) / 150)


def grade(sample, item):
    reply = sample["output_text"]
    cited = set(re.findall(r"KB-[0-9]{4}", reply))
    article_ok = cited == {item["article"]}
    return W_ARTICLE * article_ok + W_HELPFUL * helpfulness(reply)
