"""The scripted models of the demo: four that propose, one that aggregates, and one that judges."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from langchain_moa.testing.behavior import ModelBehavior
from langchain_moa.testing.demo_judge import JUDGE, judged
from langchain_moa.testing.replies import Reply, ToolCall, assistant_reply, user_text
from langchain_moa.types import AnyMapping

DEMO_QUESTION: Final = "What are 3 fun things to do in SF?"
"""The question that the scripted models know an answer to."""

_DRAFTS: Final = {
    "demo/sunset-8b": (
        "1. Walk or cycle across the Golden Gate Bridge and come back by ferry from Sausalito.\n"
        "2. See the sea lions at Pier 39.\n"
        "3. Ride a cable car up Powell Street."
    ),
    "demo/mission-70b": (
        "1. Eat a burrito in the Mission and look at the murals of Balmy Alley.\n"
        "2. Watch the city from Dolores Park.\n"
        "3. Spend an evening at a jazz club in the Fillmore."
    ),
    "demo/presidio-22b": (
        "1. Golden Gate Park: the Japanese Tea Garden and the California Academy of Sciences.\n"
        "2. The Lands End trail, with the ruins of the Sutro Baths.\n"
        "3. Night tour of Alcatraz; book weeks ahead."
    ),
    "demo/castro-32b": (
        "1. Take the ferry to Alcatraz.\n"
        "2. Walk the Golden Gate Bridge early, before the fog and the crowds.\n"
        "3. Browse the Ferry Building's farmers market on a Saturday."
    ),
}
_ANSWER: Final = (
    "Three things that make a good day in San Francisco:\n\n"
    "1. **Golden Gate Bridge, early.** Walk or cycle across before the crowds, and take the "
    "ferry back from Sausalito.\n"
    "2. **Alcatraz.** The night tour is the best one; book it weeks ahead.\n"
    "3. **The Mission.** A burrito, the murals of Balmy Alley, and the view from Dolores Park."
)
_SHOWN: Final = re.compile(
    r'<proposal-(?P<key>[0-9a-f]+) number="(?P<number>\d+)">\n(?P<text>.*?)\n</proposal-(?P=key)>',
    re.DOTALL,
)
AGGREGATOR: Final = "demo/aggregator-405b"
PROPOSERS: Final = tuple(_DRAFTS)


def _draft(model: str) -> Callable[[AnyMapping], str | Reply]:
    return _scripted(_DRAFTS[model], f"This is {model}'s scripted draft; a real model would answer")


def _scripted(known: str, otherwise: str) -> Callable[[AnyMapping], str | Reply]:
    def reply(body: AnyMapping) -> str | Reply:
        question = user_text(body)
        if DEMO_QUESTION in question and (advice := _advice(body, question)) is not None:
            return Reply(text=None, tool_calls=(advice,))
        if body.get("tools") or body.get("response_format"):
            return assistant_reply(body)
        if DEMO_QUESTION in question:
            return known
        first_line = next(iter(question.strip().splitlines()), "")
        return f"{otherwise}: {' '.join(first_line.split()[:30])}"

    return reply


def _advice(body: AnyMapping, question: str) -> ToolCall | None:
    """What the scripted analyst or judge finds in the drafts that it is shown, by their numbers."""
    asked = {tool["function"]["name"] for tool in body.get("tools") or ()}
    shown = {int(found["number"]): found["text"] for found in _SHOWN.finditer(question)}

    def numbers(words: str) -> list[int]:
        return [number for number, text in shown.items() if words in text]

    if "Choice" in asked:
        chosen = next(iter(numbers("Lands End")), 0)
        reason = "It leads to places that a visitor would not find alone."
        return ToolCall(name="Choice", arguments={"number": chosen, "reason": reason})
    if "Analysis" not in asked:
        return None
    stances = {"Night tour": "By night, booked weeks ahead.", "ferry to": "By ferry, at any time."}
    found = {
        "consensus": ["Most begin at the bay: the bridge, the ferries, the trails."],
        "contradictions": [
            {
                "topic": "When to see Alcatraz",
                "stances": [
                    {"model": number, "stance": stance}
                    for words, stance in stances.items()
                    for number in numbers(words)
                ],
            }
        ],
        "partial_coverage": [
            {"models": numbers("Golden Gate Bridge"), "point": "A walk across the bridge."}
        ],
        "unique_insights": [
            {"model": number, "insight": "The Mission has the food and the murals."}
            for number in numbers("burrito")
        ],
        "blind_spots": ["Nobody says what to do in the fog."],
    }
    return ToolCall(name="Analysis", arguments=found)


def _proposer(model: str, latency: float) -> ModelBehavior:
    return ModelBehavior(reply=_draft(model), latency=latency)


DEMO_MODELS: Final[dict[str, ModelBehavior]] = {
    **{model: _proposer(model, 0.4 + 0.3 * place) for place, model in enumerate(PROPOSERS)},
    AGGREGATOR: ModelBehavior(
        reply=_scripted(
            _ANSWER, "This is the scripted aggregator, which read the drafts; the question was"
        ),
        latency=0.3,
        token_delay=0.02,
    ),
    JUDGE: ModelBehavior(reply=judged),
}
"""Behavior of each demo model on the loopback server."""
