"""What the tests of strategies share: readers that answer from what they are shown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from langchain_moa.testing import ModelBehavior

ANALYST, JUDGE = "acme/analyst", "acme/judge"
_FENCED: Final = re.compile(
    r'<proposal-(?P<key>[0-9a-f]+) number="(?P<number>\d+)">\n(?P<text>.*?)\n</proposal-(?P=key)>',
    re.DOTALL,
)
CONSENSUS, BLIND_SPOT = "All name a river.", "Nobody gives a source."
TOPIC: Final = "the capital"


def shown_to(body: Mapping[str, Any]) -> dict[int, str]:
    """The proposals that a request shows, by their numbers."""
    text = "\n".join(str(message["content"]) for message in body["messages"])
    return {int(found["number"]): found["text"] for found in _FENCED.finditer(text)}


def compared(shown: Mapping[int, str]) -> dict[str, Any]:
    """What an honest analyst finds in drafts on a capital, by their numbers."""
    stances = [
        {"model": number, "stance": city}
        for number, text in shown.items()
        for city in ("Paris", "Lyon")
        if city in text
    ]
    alone = [number for number, text in shown.items() if "floods" in text]
    covered = [str(number) for number, text in shown.items() if "bridges" in text]
    return {
        "consensus": [CONSENSUS],
        "contradictions": [{"topic": TOPIC, "stances": stances}],
        "partial_coverage": [{"models": covered, "point": "Its bridges."}] if covered else [],
        "unique_insights": [{"model": number, "insight": "It floods."} for number in alone],
        "blind_spots": [BLIND_SPOT],
    }


def analyst(body: Mapping[str, Any]) -> str:
    """Answers as an honest analyst."""
    return json.dumps(compared(shown_to(body)))


def judge_of(wanted: Callable[[str], bool]) -> ModelBehavior:
    """A judge that takes the first draft that it wants, and none where it wants none."""

    def choose(body: Mapping[str, Any]) -> str:
        found = [number for number, text in shown_to(body).items() if wanted(text)]
        return json.dumps({"number": found[0] if found else 0, "reason": "It is right."})

    return ModelBehavior(reply=choose)
