"""`MoAChatModel`: a mixture of agents wherever LangChain takes a chat model."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from typing import Any, ClassVar, Final, Self, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field, PrivateAttr, model_validator
from typing_extensions import override

from langchain_moa.accounting.usage import without_usage
from langchain_moa.config.build import build_mixture
from langchain_moa.config.copies import copied_fields, pickled_form
from langchain_moa.config.lineup import MEMBER_FIELDS
from langchain_moa.config.settings import ARGUMENTS, SETTING_NAMES, MixtureSettings
from langchain_moa.engine.foreseeing import Foreseeing
from langchain_moa.engine.layer import CompiledGraph
from langchain_moa.engine.reading import profile_of
from langchain_moa.engine.run import MoARun
from langchain_moa.errors import MoAConfigurationError, MoAError, without_variables
from langchain_moa.graph import mixture_graph
from langchain_moa.members.arguments import refuse_itself, require_known_arguments
from langchain_moa.members.bindings import Bind, bind_members, rebound
from langchain_moa.members.counting import CountsAsAnother
from langchain_moa.members.member import MemberLike
from langchain_moa.members.profiles import FreshProfile
from langchain_moa.members.runnables import holds
from langchain_moa.messages.tools import first_name
from langchain_moa.mixture import Mixture
from langchain_moa.proposals.schemas import acceptance
from langchain_moa.proposals.voting import votable_fields
from langchain_moa.settings import SAMPLES, check_names
from langchain_moa.tracing.callbacks import RunManager, get_current_run
from langchain_moa.tracing.outer_run import CompositeChatModel
from langchain_moa.tracing.redaction import Redaction
from langchain_moa.types import MODEL_NAME, AnyDict, AnyMapping, AnyRunnable, Proposal


class MoAChatModel(MixtureSettings, CountsAsAnother, Foreseeing, CompositeChatModel):
    """A mixture of agents as one chat model (Wang et al. 2024, arXiv 2406.04692).

    Reference models answer in parallel, one or more layers deep; each layer reads the
    proposals of the one before it, and an aggregator writes the one answer.

    A member is a chat model, any `Runnable` that takes messages and gives a message or a
    string (a chain, an agent), or a string: `"provider:model"` through LangChain's
    `init_chat_model`, or a bare model id, which means Together; with arguments of its class as
    `{"model": "owner/model", "temperature": 0.3}`.

    Raises:
        MoAConfigurationError: An argument is wrong; the message names it and what to give.
        MissingExtraError: A string names a provider whose package is not installed.

    Example:
        >>> from langchain_moa import MoAChatModel
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> llm = MoAChatModel(
        ...     reference_models=[ScriptedChatModel.saying("4"), ScriptedChatModel.saying("5")],
        ...     aggregator=ScriptedChatModel.saying("It is 4."),
        ... )
        >>> answer = llm.invoke("What is 2 + 2?")
        >>> answer.content
        'It is 4.'
        >>> [p["status"] for p in answer.response_metadata["moa"]["proposals"]]
        ['ok', 'ok']
    """

    streaming: bool = Field(
        default=False,
        description="Whether `invoke` streams the final answer too, for handlers of tokens.",
    )

    _built: tuple[tuple[object, ...], Mixture | None] | None = PrivateAttr(default=None)
    _graph: tuple[tuple[Mixture, Sequence[Proposal]], CompiledGraph] | None = PrivateAttr(
        default=None
    )

    is_mixture: ClassVar[bool] = True
    """Tells that one answer takes several model calls, so that their usage is metered."""

    # --- how mixtures are made and copied ---

    @classmethod
    @without_variables
    def self_moa(
        cls,
        model: MemberLike,
        samples: int = 6,
        *,
        aggregator: MemberLike | None = None,
        **options: Any,
    ) -> Self:
        """One model sampled several times, then aggregated (Self-MoA, arXiv 2502.00674).

        Args:
            model: The model. Its temperature (or `proposal_temperature`) should be above
                zero, for equal samples add nothing.
            samples: How often it is sampled in each proposer layer. Default 6, as in the paper.
            aggregator: Who aggregates; by default the model itself.
            **options: The other arguments of `MoAChatModel`.

        Raises:
            MoAConfigurationError: An argument is wrong, such as `samples=0`.

        Example:
            >>> from langchain_moa import MoAChatModel
            >>> from langchain_moa.testing import ScriptedChatModel
            >>> llm = MoAChatModel.self_moa(ScriptedChatModel.saying("Paris"), samples=3)
            >>> len(llm.invoke("Capital of France?").response_metadata["moa"]["proposals"])
            3
        """
        check_names(options, [*cls.model_fields, "samples"])
        count = int(SAMPLES.checked(samples, "samples"))
        if "reference_models" in options:
            msg = "reference_models: in Self-MoA they are the model itself; leave them out."
            raise MoAConfigurationError(msg)
        return cls(
            reference_models=[model] * count,
            aggregator=model if aggregator is None else aggregator,
            **options,
        )

    @model_validator(mode="after")
    def _check_mixture(self) -> Self:
        _ = self._mixture
        return self

    @property
    def num_layers(self) -> int:
        """Number of layers, the aggregator's counted, whether given or followed from lists."""
        return self._mixture.layers

    @property
    @override
    def _mixture(self) -> Mixture:
        """The checked mixture of the current fields.

        It is made anew when a field was changed, as `model_copy(update=...)` does without
        validation.
        """
        values = _fields_of(self)
        known, mixture = self._built or (None, None)
        if known is None:  # being constructed: the fields have just been validated
            mixture = self._mixture_of(MixtureSettings.model_construct, values)
        elif mixture is None or not all(map(operator.is_, known, values)):
            mixture = self._mixture_of(MixtureSettings, values)
        self._built = (values, mixture)
        return mixture

    def _mixture_of(
        self, settings: Callable[..., MixtureSettings], values: tuple[object, ...]
    ) -> Mixture:
        for field in MEMBER_FIELDS:
            if holds(getattr(self, field), self):
                msg = f"{field} holds the mixture itself; give another model, or a copy of it."
                raise MoAConfigurationError(msg)
        return build_mixture(settings(**dict(zip(SETTING_NAMES, values, strict=True))))

    @property
    def graph(self) -> CompiledGraph:
        """The mixture as one LangGraph graph over `{"messages": [...]}`.

        Add it as a node to a graph over `MessagesState`, draw it with
        `graph.get_graph(xray=1).draw_mermaid()`, or compile `graph.builder` again with a
        checkpointer.
        """
        made_of = (self._mixture, self._kept)
        if self._graph is None or not all(map(operator.is_, self._graph[0], made_of)):
            self._graph = (made_of, mixture_graph(made_of[0], self.name or MODEL_NAME, self._kept))
        return self._graph[1]

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """A copy that is built anew, for what is built holds locks; connections are shared."""
        is_bound = bool(self._bindings.aggregators)  # a binding is of these very members
        fields = {} if is_bound else copied_fields(self, {} if memo is None else memo)
        copy = self.model_copy(update=fields)
        # its fields may yet be changed: with no values known, they are validated again
        copy._built, copy._graph = ((), None), None  # noqa: SLF001 - of its own class
        return copy

    @override
    @without_variables
    def __reduce__(self) -> tuple[Any, ...]:
        return pickled_form(self, self._kept, is_bound=bool(self._bindings.aggregators))

    @override
    @without_variables
    def model_copy(self, *, update: AnyMapping | None = None, deep: bool = False) -> Self:
        """A copy with other fields, which are checked when they are first used.

        `replace` checks them at once.

        Raises:
            MoAConfigurationError: There is no such field.
        """
        check_names(update or (), list(type(self).model_fields))
        return super().model_copy(update=update, deep=deep)

    @without_variables
    def replace(self, **settings: object) -> Self:
        """A copy with other settings, all of them checked.

        Args:
            **settings: Arguments of `MoAChatModel`.

        Raises:
            MoAConfigurationError: One is unknown or wrong.
            MissingExtraError: A string names a provider whose package is not installed.

        Example:
            >>> from langchain_moa import MoAChatModel
            >>> from langchain_moa.testing import ScriptedChatModel
            >>> four = ScriptedChatModel.saying("4")
            >>> llm = MoAChatModel(reference_models=[four, four], aggregator=four)
            >>> llm.replace(quorum=1).quorum, llm.quorum
            (1, None)
        """
        check_names(settings, list(type(self).model_fields))
        known = dict(zip(SETTING_NAMES, _fields_of(self), strict=True))
        ours = {name: value for name, value in settings.items() if name in known}
        united = MixtureSettings(**{**known, **ours})
        checked = {name: getattr(united, name) for name in ours}
        copy = self.model_copy(update={**settings, **checked})
        _ = copy._mixture  # noqa: SLF001 - of its own class; what settings are together is checked
        return copy

    # --- one call ---

    def require_known_arguments(self, arguments: AnyMapping) -> None:
        """Refuse arguments of a call that would be of no use, before anything is paid.

        Args:
            arguments: Those of `invoke` or `bind`.

        Raises:
            MoAConfigurationError: One is a setting of the mixture, asks for several answers, or
                is none that the aggregator, or a fallback of it, takes.
        """
        for place, member in enumerate(self._mixture.aggregator.candidates):
            given = self._bindings.arguments(place, dict(arguments))
            require_known_arguments(member, given, SETTING_NAMES)

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> ChatResult:
        return _result(self._run(run_manager, stop, _whole(kwargs)).invoke(messages))

    @override
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> ChatResult:
        return _result(await self._run(run_manager, stop, _whole(kwargs)).ainvoke(messages))

    @override
    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> Iterator[ChatGenerationChunk]:
        chunks = self._run(run_manager, stop, kwargs).stream(messages)
        with closing(chunks):
            for chunk in chunks:
                yield ChatGenerationChunk(message=chunk)

    @override
    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> AsyncIterator[ChatGenerationChunk]:
        chunks = self._run(run_manager, stop, kwargs).astream(messages)
        async with aclosing(chunks):
            async for chunk in chunks:
                yield ChatGenerationChunk(message=chunk)

    def _run(self, manager: RunManager | None, stop: list[str] | None, kwargs: AnyDict) -> MoARun:
        arguments = kwargs if stop is None else {**kwargs, "stop": stop}
        self.require_known_arguments(arguments)
        run = manager or get_current_run()
        return MoARun(self._mixture, run, arguments, self._bindings, self._kept)

    # --- what the aggregator does for the mixture ---

    @override
    @without_variables
    def bind_tools(
        self,
        tools: Sequence[AnyDict | type | Callable[..., object] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools to the aggregator, which acts; reference models advise in text.

        Args:
            tools: As the aggregator's own `bind_tools` takes them.
            tool_choice: Which tool must be called, in the aggregator's terms.
            **kwargs: Further arguments of the aggregator's `bind_tools`.

        Raises:
            MoAConfigurationError: The aggregator is no chat model or takes no tools; or a
                reference model refuses them with `tools_for="all"` (one that cannot have any
                advises in text); or a tool is this mixture itself.
        """
        refuse_itself(tools, self._mixture.fingerprint)
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return self._bound(
            "bind_tools",
            lambda model: model.bind_tools(tools, **kwargs),
            # nobody forces a reference model to call what is never executed
            (lambda model: model.bind_tools(tools))
            if self._mixture.settings.tools_for == "all"
            else None,
        )

    @override
    @without_variables
    def with_structured_output(
        self,
        schema: AnyDict | type,
        *,
        include_raw: bool = False,
        vote: bool = False,
        **kwargs: object,
    ) -> Runnable[LanguageModelInput, AnyDict | BaseModel]:
        """Answer in a schema, by the aggregator's own method.

        Proposals stay free text, unless `structured_proposals` or `vote` is set.

        Args:
            schema: As the aggregator's own `with_structured_output` takes it.
            include_raw: Whether the result holds the raw message and a parsing error too.
            vote: Whether each field gets the value that most proposals of the last layer have, and
                the aggregator's where they are tied (self-consistency, arXiv 2203.11171). All
                fields must be closed: Literal, enum, bool or number. What the schema does not
                permit has no vote, and if it does not permit the result, the aggregator's answer
                is kept. The record tells the votes; the answer then comes in one piece.
            **kwargs: Further arguments, such as `method` and `strict`.

        Raises:
            MoAConfigurationError: The aggregator is no chat model or has no such method; a field
                is open and cannot be voted on; a vote is wanted where a judge selects the answer;
                or a reference model refuses the schema (one without any answers in free text).
        """
        fields = votable_fields(schema) if vote else {}
        if vote and self.strategy == "select":
            msg = "vote=True contradicts strategy='select', which changes none; leave one out."
            raise MoAConfigurationError(msg)

        def bind(model: BaseChatModel) -> AnyRunnable:
            return model.with_structured_output(schema, include_raw=include_raw, **kwargs)

        all_in_schema = vote or self._mixture.settings.structured_proposals
        return self._bound(
            "with_structured_output",
            bind,
            bind if all_in_schema else None,
            schema=acceptance(schema),
            vote=fields,
        )

    def _bound(
        self,
        use: str,
        bind: Bind,
        propose: Bind | None = None,
        *,
        schema: Callable[[AnyMapping], bool] | None = None,
        vote: Mapping[str, Callable[[Any], Sequence[Any]]] | None = None,
    ) -> AnyRunnable:
        """What the aggregator makes of a binding, with a copy of the mixture in its place."""
        mixture = self._mixture
        binding, model, bindings = bind_members(
            mixture.aggregator, mixture.proposers, use, bind, propose
        )
        if schema is not None:
            tool = first_name(bindings.aggregators[0].arguments.get("tools"))
            bindings = replace(bindings, schema=schema, vote=vote or {}, tool=tool)
        copy = self.model_copy()
        copy._bindings = bindings  # noqa: SLF001 - of its own class
        return rebound(binding, model, copy)

    @property
    @override
    def _counted_by(self) -> BaseChatModel | None:
        return self._mixture.aggregator.chat_model

    @override
    def _resolve_model_profile(self) -> ModelProfile | None:
        """What the current aggregators can, and the most input that fits beside the proposals."""
        return profile_of(self._mixture)

    # --- who this is ---

    @property
    def model_name(self) -> str:
        """Name of the mixture as a model; members' names are in the record of each answer."""
        return MODEL_NAME

    @property
    @override
    def _llm_type(self) -> str:
        return MODEL_NAME

    @property
    @override
    def _identifying_params(self) -> AnyDict:
        mixture = self._mixture
        return {
            "model": MODEL_NAME,
            "layers": mixture.layers,
            "reference_models": [[m.model for m in layer] for layer in mixture.proposers],
            "aggregator": mixture.aggregator.model,
            "strategy": mixture.settings.strategy,
            "fingerprint": mixture.fingerprint,
            **mixture.final_arguments,
            **({"vote": True} if self._bindings.vote else {}),  # its call arguments don't tell
        }

    @override
    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: object) -> AnyDict:
        """What callbacks are told of a call: its arguments without headers, which may hold keys."""
        told = super()._get_invocation_params(stop=stop, **kwargs)
        return cast("AnyDict", Redaction().data(told))

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: object) -> LangSmithParams:
        """The mixture as a traced model, of the provider who writes its answers."""
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = self._mixture.provider
        return params

    @override
    def __repr_args__(self) -> Iterator[tuple[str, object]]:
        """Names only: a member's own repr may print headers that hold keys."""
        try:
            mixture = self._mixture
        except (MoAError, AttributeError):  # it is not made yet, or no mixture can be made of it
            return
        yield "reference_models", [[m.model for m in layer] for layer in mixture.proposers]
        yield "aggregator", mixture.aggregator.model
        yield "layers", mixture.layers


# the settings have their sentences where they are declared
MoAChatModel.__doc__ = str(MoAChatModel.__doc__).replace(
    "    Raises:", f"{ARGUMENTS}\n\n    Raises:"
)
# a descriptor, which pydantic would not take in the class body
type(MoAChatModel).__setattr__(MoAChatModel, "profile", FreshProfile())

_fields_of: Final = operator.attrgetter(*SETTING_NAMES)

ChatMoA = MoAChatModel
"""`MoAChatModel` under the name that LangChain's convention for chat models gives it."""


def _result(answer: AIMessage) -> ChatResult:
    return ChatResult(generations=[ChatGeneration(message=without_usage(answer))])


def _whole(arguments: AnyDict) -> AnyDict:
    """The arguments of a call that is not streamed, without what is of streams alone."""
    return {name: value for name, value in arguments.items() if name != "stream_usage"}
