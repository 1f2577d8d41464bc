"""The mixture as a tool: an agent decides by itself when to ask several models."""

from __future__ import annotations

from typing import Any, Final

from langchain_core.callbacks import AsyncCallbackManagerForToolRun, CallbackManagerForToolRun
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field, SkipValidation
from typing_extensions import override

from langchain_moa.chat_models import MoAChatModel
from langchain_moa.errors import MoAConfigurationError, shown

_DESCRIPTION: Final = (
    "Asks a panel of several language models one question and returns their joint answer. Use it "
    "where being wrong is costly: hard questions, decisions, reviews, plans. It takes longer than "
    "answering yourself. The panel knows nothing of this conversation, so put all that it needs "
    "into the question."
)


class Question(BaseModel):
    """What the tool takes."""

    question: str = Field(description="The whole question, with all that is needed to answer it.")


class MoATool(BaseTool):
    """A mixture as a tool; `moa_tool` makes it.

    The answer's text is what the agent reads, and the answer with its record is the `artifact` of
    the tool's message.
    """

    mixture: SkipValidation[Any] = Field(exclude=True, repr=False)
    args_schema: Any = Question
    response_format: Any = "content_and_artifact"

    @property
    def asks_mixture(self) -> str:
        """The fingerprint of the mixture, for it not to be given itself as a tool."""
        asked: str = self.mixture._identifying_params["fingerprint"]  # noqa: SLF001 - LangChain's name
        return asked

    @override
    def _run(
        self,
        question: str,
        *,
        config: RunnableConfig,
        run_manager: CallbackManagerForToolRun | None = None,
    ) -> tuple[str, AIMessage]:
        answer = self.mixture.invoke(question, config)
        return answer.text, answer

    @override
    async def _arun(
        self,
        question: str,
        *,
        config: RunnableConfig,
        run_manager: AsyncCallbackManagerForToolRun | None = None,
    ) -> tuple[str, AIMessage]:
        answer = await self.mixture.ainvoke(question, config)
        return answer.text, answer


def moa_tool(
    llm: MoAChatModel, *, name: str = "ask_panel", description: str = _DESCRIPTION
) -> MoATool:
    """A mixture as a tool, for an ordinary agent to decide when to ask it.

    Its runs are children of the tool's run, so that traces and handlers of usage see them. A
    mixture refuses itself as a tool, and so does one that a member would call by it.

    Args:
        llm: The mixture.
        name: Name of the tool.
        description: What the agent is told of it.

    Raises:
        MoAConfigurationError: `llm` is no mixture, or the name or the description is empty.

    Example:
        >>> from langchain_moa import MoAChatModel, moa_tool
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> four = ScriptedChatModel.saying("4")
        >>> tool = moa_tool(MoAChatModel(reference_models=[four, four], aggregator=four))
        >>> tool.invoke({"question": "What is 2 + 2?"})
        '4'
    """
    given: object = llm  # callers without a type checker give other things
    if not isinstance(given, MoAChatModel):
        msg = f"llm={shown(given)} is no mixture; give a MoAChatModel, with nothing bound to it."
        raise MoAConfigurationError(msg)
    for field, text in (("name", name), ("description", description)):
        if not text.strip():
            msg = f"{field}={text!r} is empty; an agent must know what the tool is."
            raise MoAConfigurationError(msg)
    return MoATool(name=name, description=description, mixture=llm)
