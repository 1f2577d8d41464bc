"""Proposals in a graph's state, which another version, or a person, may have written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from langchain_moa.types import USABLE, AnyDict, Proposal, whole_number

_SLOT: Final = re.compile(r"([1-9][0-9]{0,8})\.([0-9]{1,9})")
_COUNTS: Final = ("input_tokens", "output_tokens", "total_tokens")
_KINDS: Final[Mapping[str, type | tuple[type, ...]]] = {
    **dict.fromkeys(("model", "status", "text", "reasoning"), str),
    **dict.fromkeys(("model_name", "error"), (str, type(None))),
    **dict.fromkeys(("requests", "unknown", "left_out"), list),
    **dict.fromkeys(("is_retryable", "degraded"), bool),
    "seconds": (int, float),
    "attempts": int,
    "usage_by_model": dict,
}
"""What each key holds; the slot says the layer and the place."""
_TEXTS: Final = ("unknown", "left_out")


def proposals_from_state(state: Mapping[str, object]) -> list[Proposal]:
    """The proposals in a graph's `moa_proposals`, in (layer, index) order.

    Keys that are not known are left out, and those that lack, or hold what they can't, have their
    defaults. What is not a proposal at all is none.

    Example:
        >>> state = {"1.0": {"text": "4", "of another version": True, "error": 7}, "odd": {}}
        >>> [(p.key, p.text, p.usable) for p in proposals_from_state(state)]
        [('1.0', '4', True)]
    """
    proposals = [
        Proposal(layer=int(place[1]), index=int(place[2]), **_known(value))
        for key, value in state.items()
        if (place := _SLOT.fullmatch(key)) is not None and isinstance(value, Mapping)
    ]
    return sorted(proposals, key=lambda p: (p.layer, p.index))


def _known(value: Mapping[str, object]) -> AnyDict:
    """The keys that this version knows; without a text nothing is usable."""
    found: AnyDict = {n: value[n] for n in _KINDS if isinstance(value.get(n, ...), _KINDS[n])}
    for name in _TEXTS:
        found[name] = [text for text in found.get(name, ()) if isinstance(text, str)]
    used = found.get("usage_by_model", {})
    found["usage_by_model"] = {name: usage for name, usage in used.items() if _is_usage(usage)}
    if not found.get("text") and found.get("status", "ok") in USABLE:
        found["status"] = "empty"
    return {"model": "", **found}


def _is_usage(usage: object) -> bool:
    return isinstance(usage, Mapping) and all(
        whole_number(usage.get(name)) is not None for name in _COUNTS
    )
