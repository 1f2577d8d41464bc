"""The scripted models of the demo: four that propose, one that aggregates, and one that judges."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from langchain_moa.testing.behavior import BehaviorFunction, ModelBehavior
from langchain_moa.testing.demo_answers import SCRIPTS, Script
from langchain_moa.testing.demo_judge import JUDGE, judged
from langchain_moa.testing.replies import Reply, ToolCall, assistant_reply, user_text
from langchain_moa.types import AnyMapping

DEMO_QUESTION: Final = SCRIPTS[0].question
"""The question that is offered; the scripted models know answers to some others."""
DEMO_QUESTIONS: Final = tuple(script.question for script in SCRIPTS)
"""All that they know answers to."""
_ANSWERS_ONLY: Final = "I am scripted, and know answers to these alone: " + " ".join(DEMO_QUESTIONS)
_SHOWN: Final = re.compile(
    r'<proposal-(?P<key>[0-9a-f]+) number="(?P<number>\d+)">\n(?P<text>.*?)\n</proposal-(?P=key)>',
    re.DOTALL,
)
AGGREGATOR: Final = "demo/aggregator-405b"
PROPOSERS: Final = ("demo/sunset-8b", "demo/mission-70b", "demo/presidio-22b", "demo/castro-32b")


def _script(body: AnyMapping) -> Script | None:
    """What is said to a request's question, where that is known."""
    question = user_text(body)
    return next((script for script in SCRIPTS if script.question in question), None)


def _draft(place: int) -> Callable[[AnyMapping], str | Reply]:
    def known(script: Script, question: str) -> str:
        has_read = any(draft and draft in question for draft in script.first)
        return (script.second if has_read else script.first)[place]

    return _scripted(PROPOSERS[place], known)


def _scripted(
    name: str, known: Callable[[Script, str], str]
) -> Callable[[AnyMapping], str | Reply]:
    def reply(body: AnyMapping) -> str | Reply:
        question = user_text(body)
        if DEMO_QUESTION in question and (advice := _advice(body, question)) is not None:
            return Reply(text=None, tool_calls=(advice,))
        if body.get("tools") or body.get("response_format"):
            return assistant_reply(body)
        script = _script(body)
        return _unknown(name, question) if script is None else known(script, question)

    return reply


def _unknown(name: str, question: str) -> str:
    """What is said to other questions: by each model something else, for evaluations to compare."""
    drafts = [found["text"] for found in _SHOWN.finditer(question)]
    read = f" and have read {len(drafts)} drafts, {len({*drafts})} of them different"
    return f"{_ANSWERS_ONLY} I am {name}{read if drafts else ''}."


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


def _proposer(place: int) -> BehaviorFunction:
    """A reference model; to one of the questions one of them fails, as real ones do."""
    behavior = ModelBehavior(reply=_draft(place), latency=0.4 + 0.3 * place)
    fails = ModelBehavior(status=400, error="scripted to fail here", latency=0.4)

    def behaves(body: AnyMapping, _: int) -> ModelBehavior:
        script = _script(body)
        return fails if script is not None and not script.first[place] else behavior

    return behaves


DEMO_MODELS: Final[dict[str, ModelBehavior | BehaviorFunction]] = {
    **{model: _proposer(place) for place, model in enumerate(PROPOSERS)},
    AGGREGATOR: ModelBehavior(
        reply=_scripted(AGGREGATOR, lambda script, _: script.answer), latency=0.3, token_delay=0.02
    ),
    JUDGE: ModelBehavior(reply=judged),
}
"""Behavior of each demo model on the loopback server."""
