"""What a mixture tells before a call, and what a call need not pay for again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from pydantic import PrivateAttr

from langchain_moa.accounting.estimates import Estimate
from langchain_moa.accounting.prices import Prices
from langchain_moa.engine.estimating import estimated
from langchain_moa.errors import MoAConfigurationError, shown, without_variables
from langchain_moa.explanation.picture import image, mixture_svg
from langchain_moa.members.bindings import Bindings
from langchain_moa.mixture import Mixture
from langchain_moa.types import Proposal


class Foreseeing(BaseChatModel):
    """A chat model that is a mixture, as those see it who pay for it."""

    _bindings: Bindings = PrivateAttr(default_factory=Bindings)
    _kept: tuple[Proposal, ...] = PrivateAttr(default=())

    @property
    def _mixture(self) -> Mixture:
        """The checked mixture."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        """The picture that notebooks show: boxes in SVG, made here."""
        mixture = self._mixture
        layers = [[member.model for member in layer] for layer in mixture.proposers]
        strategy, adviser = mixture.strategy, mixture.adviser
        found = None if strategy is None or adviser is None else (strategy.role, adviser.model)
        picture = mixture_svg([*layers, [mixture.aggregator.model]], found)
        return image(picture, "mixture of agents")

    @property
    def known_prices(self) -> Prices | None:
        """What costs are reckoned with: `prices`, list prices as a function."""
        return self._mixture.prices

    @without_variables
    def estimate(self, messages: LanguageModelInput, *, output_tokens: int = 4096) -> Estimate:
        """What a call would take: requests, tokens and USD from least to most, nothing is asked.

        Args:
            messages: What `invoke` would be given. Tools count where they are bound:
                `llm.bind_tools(tools).estimate(messages)`.
            output_tokens: How many tokens an answer has at most where no `max_tokens` limits it.

        Raises:
            MoAConfigurationError: There are no messages.

        Example:
            >>> from langchain_moa import MoAChatModel
            >>> from langchain_moa.testing import ScriptedChatModel
            >>> four = ScriptedChatModel.saying("4")
            >>> llm = MoAChatModel(reference_models=[four] * 3, aggregator=four, layers=3)
            >>> estimate = llm.estimate("What is 2 + 2?")
            >>> estimate.calls, estimate.waits
            (7, 3)
        """
        given = self._convert_input(messages).to_messages()
        return estimated(self._mixture, given, output_tokens, self._bindings, self._kept)

    @without_variables
    def reusing(self, proposals: Sequence[Proposal]) -> Self:
        """A copy that has these proposals already, so that a call pays only for what is missing.

        Args:
            proposals: Those of an error of the same conversation. Usable ones are taken for what
                their authors would say, and are `reused` in the record.

        Raises:
            MoAConfigurationError: They are no proposals.

        Example:
            >>> from langchain_moa import MoAChatModel, Proposal
            >>> from langchain_moa.testing import ScriptedChatModel
            >>> four = ScriptedChatModel.saying("4")
            >>> llm = MoAChatModel(reference_models=[four, four], aggregator=four)
            >>> again = llm.reusing([Proposal(layer=1, index=0, model="x", text="Four.")])
            >>> record = again.invoke("2 + 2?").response_metadata["moa"]
            >>> [proposal["status"] for proposal in record["proposals"]]
            ['reused', 'ok']
        """
        given: object = proposals  # callers without a type checker give other things
        if not isinstance(given, list | tuple) or not all(isinstance(p, Proposal) for p in given):
            msg = f"proposals={shown(given)} are none; give the .proposals of an error."
            raise MoAConfigurationError(msg)
        copy = self.model_copy()
        copy._kept = tuple(proposals)  # noqa: SLF001 - of its own class
        return copy
