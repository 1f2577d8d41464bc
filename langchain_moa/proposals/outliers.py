"""The outlier filter: leaves proposals out before the next layer reads them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

from langchain_moa.errors import MoAConfigurationError, shown
from langchain_moa.proposals.similarity import largest_cluster
from langchain_moa.settings import is_async
from langchain_moa.types import Proposal

logger = logging.getLogger(__name__)

FilterFunction: TypeAlias = Callable[[list[str]], Sequence[int]]
ProposalFilter: TypeAlias = Literal["cluster"] | FilterFunction | None
"""Given a layer's usable proposals, says the indexes of those to keep."""


def without_outliers(proposals: Sequence[Proposal], keep: FilterFunction) -> list[Proposal]:
    """The proposals of one layer, with those marked that the filter leaves out.

    A filter that fails is logged and leaves all in: they have been paid for.
    """
    usable = [p for p in proposals if p.usable]
    if not usable:
        return list(proposals)
    try:
        kept = {usable[index].key for index in keep([p.text for p in usable])}
    except Exception:
        logger.exception("the proposal filter failed; all proposals are kept")
        return list(proposals)
    reason = "left out by proposal_filter"
    return [
        replace(p, status="outlier", error=reason) if p.usable and p.key not in kept else p
        for p in proposals
    ]


def checked_filter(given: object) -> FilterFunction | None:
    """The function that a user's filter means.

    Raises:
        MoAConfigurationError: It is neither `"cluster"` nor a plain function.
    """
    if given is None:
        return None
    if given == "cluster":
        return largest_cluster
    if not callable(given) or is_async(given):
        msg = (
            f"proposal_filter={shown(given)} is no filter; give 'cluster', or a function that "
            "takes a list of texts and returns the indexes of those to keep."
        )
        raise MoAConfigurationError(msg)
    keep: FilterFunction = given
    return keep
