"""The demo's scripted judge: it picks what it says at random, in the form that it is asked for.

So a whole evaluation can be tried without a key. Its judgments mean nothing, and it says so.
"""

from __future__ import annotations

import math
from hashlib import sha256
from typing import Final

from langchain_moa.testing.replies import Reply, assistant_reply
from langchain_moa.types import AnyMapping

JUDGE: Final = "demo/judge"
_SAYS: Final = "This is the scripted judge, which draws by lot."
_SKILLS: Final = (
    "Logical Robustness",
    "Logical Correctness",
    "Logical Efficiency",
    "Factuality",
    "Commonsense Understanding",
    "Comprehension",
    "Insightfulness",
    "Completeness",
    "Metacognition",
    "Readability",
    "Conciseness",
    "Harmlessness",
)
"""FLASK's, as its rubrics name them."""


def judged(body: AnyMapping) -> Reply:
    """What the scripted judge answers: the same to the same request.

    Example:
        >>> judged({"messages": [{"role": "user", "content": "Rate it: [[rating]]"}]}).text
        'This is the scripted judge, which draws by lot. [[7]]'
    """
    text = "\n".join(str(message.get("content")) for message in body["messages"])
    lot = sha256(text.encode("utf-8", "replace")).digest()
    if body.get("logprobs"):
        share = (lot[0] + 1) / 257
        tops = {"m": math.log(share), "M": math.log(1 - share)}
        token = max(tops, key=lambda name: tops[name])
        told = [{"token": name, "logprob": value} for name, value in tops.items()]
        content = [{"token": token, "logprob": tops[token], "top_logprobs": told}]
        return Reply(text=token, logprobs={"content": content})
    if body.get("tools") or body.get("response_format"):
        return assistant_reply(body)
    if body.get("max_tokens") == 1:
        return Reply(text="mM"[lot[0] % 2])
    if "[[A]]" in text and "[[B]]" in text:
        return Reply(text=f"{_SAYS} [[{'AABBC'[lot[0] % 5]}]]")
    skills = [name for name in _SKILLS if name in text]
    if skills and "[[rating]]" not in text:  # a row of code may hold brackets
        scores = {name: 3 + lot[place] % 3 for place, name in enumerate(skills)}
        return Reply(text=f"{_SAYS} {scores}")
    return Reply(text=f"{_SAYS} [[{6 + lot[0] % 4}]]")
