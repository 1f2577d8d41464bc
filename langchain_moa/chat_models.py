"""`MoAChatModel`: a mixture of agents wherever LangChain takes a chat model."""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.prompts import StringPromptTemplate
from langchain_core.runnables import Runnable
from pydantic import (
    Field,
    PrivateAttr,
    SecretStr,
    SkipValidation,
    ValidationError,
    field_serializer,
    model_validator,
)

from langchain_moa.accounting.budget import OnBudget
from langchain_moa.accounting.prices import Prices
from langchain_moa.config.build import build_mixture
from langchain_moa.config.data import ConfigSource, config_of, settings_of
from langchain_moa.config.files import write_settings
from langchain_moa.config.lineup import Aggregators, Fallbacks, ReferenceModels, built_members
from langchain_moa.config.settings import OPTION_NAMES, check_names
from langchain_moa.config.trust import checked_hosts, require_trusted
from langchain_moa.engine.layer import CompiledGraph
from langchain_moa.errors import MoAConfigurationError, from_validation
from langchain_moa.graph import mixture_graph
from langchain_moa.hooks import MODEL_NAME, HookedChatModel
from langchain_moa.members.member import MemberLike
from langchain_moa.members.runnables import holds, model_of
from langchain_moa.messages.content import OnUnsupported
from langchain_moa.messages.visibility import ContextFilter
from langchain_moa.mixture import Mixture, ToolsFor
from langchain_moa.proposals.fan_out import FanOut
from langchain_moa.proposals.outliers import ProposalFilter
from langchain_moa.proposals.prompt import AGGREGATOR_PROMPT
from langchain_moa.reliability.breaker import CircuitBreaker
from langchain_moa.reliability.policy import (
    AGGREGATOR_TIMEOUT,
    GRACE,
    MAX_RETRIES,
    PROPOSER_TIMEOUT,
    TIMEOUT,
    Grace,
    MemberConcurrency,
    OnAggregatorFailure,
    OnNoProposals,
    Quorum,
)
from langchain_moa.tracing.progress import OnProgress
from langchain_moa.types import Placement, Retries, Seconds, Temperature, Tokens


class MoAChatModel(HookedChatModel):
    """A mixture of agents as one chat model (Wang et al. 2024, arXiv 2406.04692).

    Reference models answer in parallel, one or more layers deep; each layer reads the
    proposals of the one before it, and an aggregator writes the one answer.

    A member is a chat model, any `Runnable` that takes messages and gives a message or a
    string (a chain, an agent), or a string: `"provider:model"` through LangChain's
    `init_chat_model`, or a bare model id, which means Together; with arguments of its class as
    `{"model": "owner/model", "temperature": 0.3}`.

    Args:
        reference_models: A flat list, used in every proposer layer as in the paper (section
            2.2), or one list per proposer layer.
        aggregator: The model that writes the answer. It gets the conversation as it is, and
            alone gets the tools, the call arguments and the streaming of the mixture. Of a list
            the first one answers, and the others are asked in turn when it fails, answers
            nothing, or takes too long.
        layers: Number of layers, the aggregator's counted: 2 is one pass of the reference
            models and the aggregator. By default 2, or as one list per proposer layer makes
            it; `num_layers` tells which.
        placement: Where proposals are put: `"user"`, with the last user turn, or `"system"`,
            in the system message as the reference code does. The default keeps providers'
            prompt caches useful and gives proposals no system rank.
        aggregator_prompt: How proposals are introduced to the aggregator and to later proposer
            layers: a string with `{proposals}`, or a prompt template with that one variable.
        min_proposals: How many usable proposals each layer must give; with fewer,
            `on_no_proposals` decides. Of a layer that the call's budget makes smaller, no more is
            asked than it admits.
        include_proposals: Whether `response_metadata["moa"]` holds the proposals' texts.
        stream_proposals: Whether proposers stream too: their tokens come as `token` events, see
            `ProgressEvent`, and never mix with the answer's.
        on_progress: Called with a `ProgressEvent` at each step of a call, in the thread or task
            where it happens. The same events come on LangGraph's `custom` stream, and as
            `on_custom_event` in `astream_events`.
        temperature: Sampling temperature of the final answer; `None` leaves the aggregator's.
        max_tokens: Limit of the final answer in tokens; `None` leaves the aggregator's.
        stop: Stop sequences of the final answer.
        proposal_temperature: Sampling temperature of every proposal; `None` leaves each
            reference model's own. The reference code uses 0.7.
        proposal_max_tokens: Limit of each proposal in tokens; `None` leaves each member's own.
        proposal_kwargs: Other call arguments of every proposal.
        api_key: Together key for members that are bare ids; default `TOGETHER_API_KEY`.
        base_url: Together API address for members that are bare ids; default
            `TOGETHER_API_BASE`, else Together's own.
        fallbacks: Who is asked instead of a reference model that fails, answers nothing or takes
            too long: `{"model name": member, or a list of members}`.
        proposer_timeout: Seconds that a reference model has in a layer, retries and all; each of
            its fallbacks has as many. `None` is no limit, here and below.
        aggregator_timeout: Seconds that an aggregator has for its answer. Of a stream the
            consumer's own pauses don't count.
        layer_timeout: Seconds that a layer of reference models has.
        timeout: Seconds that a whole call has.
        quorum: So many usable proposals of a layer are enough, as a count or as a share (`0.5`);
            those that have not answered are cut. `None` waits for all, as in the paper.
        grace: Seconds that the others still have once the quorum is reached.
        hedge_after: Seconds after which a second request is made for one that has not been
            answered, to the same member or its fallback; the first good answer counts. Both
            are paid for.
        max_retries: How often a failed request is repeated if its error says that this may help
            (429, 5xx, a lost connection), with jitter, and not before `Retry-After`. Members
            whose own client repeats requests (its `max_retries` is not 0) are left to it.
        on_no_proposals: What to do when a layer gives fewer than `min_proposals`: `"raise"`
            `NotEnoughProposalsError`, or `"aggregate_alone"`, go on with those that there are,
            be it none.
        on_aggregator_failure: What to do when no aggregator answers: `"raise"`
            `AggregationError`, or `"best_proposal"`, answer with the proposal that is most like
            the others (cosine of the sets of 4-character runs). Where a schema is bound, only a
            proposal in it can be the answer, see `structured_proposals`.
        circuit_breaker: When a member that keeps failing is left alone, see `CircuitBreaker`;
            `None` never.
        max_concurrency: How many member calls of this model may run at the same time.
        member_concurrency: The same for each member: a number, or `{"model name": number}`.
        sequential: Whether one member is called after the other, as one GPU wants it.
        prices: What tokens cost: `{"model": (USD per million input tokens, USD per million output
            tokens)}`, or a function of a model's name and its usage that gives USD, or `None`
            where it does not know. The record then has the costs.
        max_calls: The most requests to members that a call may make, 1 of them the aggregator's.
            What a client repeats by itself, and calls inside a chain, an agent or a mixture, are
            not seen: give a client `max_retries=0`, and an inner mixture a budget of its own.
        max_total_tokens: The most tokens that a call may use. A request counts with its estimated
            input and its limit of output tokens, where it has one, before it is made.
        max_cost: The most USD that a call may cost, counted likewise; needs `prices` of all.
        on_budget: What to do with reference models that the budget does not admit: `"degrade"`,
            go on without them, or `"raise"` `BudgetExceededError`.
        proposal_filter: Leaves proposals out before the next layer reads them: a function that
            takes a layer's usable proposals as a list of texts and returns the indexes of those
            to keep, or `"cluster"`, which keeps the larger of two groups of similar texts.
        max_input_tokens: How many tokens a member reads, one number or one per model name; by
            default as its profile says. Proposals that don't fit are shortened, the longest
            first. The conversation never is; `profile["max_input_tokens"]` says how long it may be
            for proposals to fit.
        fan_out: Which steps ask the reference models: `"user_turns"`, all but those of an agent's
            loop (the conversation ends on tool results, and one of the bound tools was called
            since the user's message); `"always"`; `"every_3"`, the first step after a user's
            message and every third after it (any number); `"never"`; or a function of the
            messages. The others are the aggregator's alone.
        reuse_proposals: Whether a turn that does not ask them gets the proposals made for the same
            user's turn, out of this process's memory, if tools are bound.
        describe_tools: Whether reference models are told which tools the aggregator has.
        tools_for: Whose calls tools are bound to: the `"aggregator"`'s, who acts, or `"all"`; the
            calls that reference models would make are shown as text and never executed. Those that
            cannot have tools are told of them.
        structured_proposals: Whether `with_structured_output` binds the schema to the reference
            models, too.
        on_unsupported: What to do when a member's profile says that it cannot take an image, audio,
            video or PDF of the conversation: `"drop_content"` leaves a note in its place,
            `"skip_member"` (with no aggregator left, `UnsupportedContentError`), or `"raise"` that
            error, before anything is paid.
        context_filter: Which messages members may see: a function of a model's name and the
            messages, or `{"model name": function of the messages}`, that returns those to send.
            A fallback sees no more than the member that it stands in for. What others write of
            hidden messages in their proposals is not hidden.
        profiles: What is known of models, as LangChain's model profiles: `{"model name":
            {"max_input_tokens": 32768, "image_inputs": False}}`; `langchain-together` has none. The
            keys are those of LangChain's `ModelProfile`.
        streaming: Whether `invoke` streams the final answer too, for handlers of tokens.

    Raises:
        MoAConfigurationError: An argument is wrong; the message names it and the mend.
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

    reference_models: SkipValidation[ReferenceModels]
    aggregator: SkipValidation[Aggregators]
    layers: int | None = None
    placement: SkipValidation[Placement] = "user"
    aggregator_prompt: SkipValidation[str | StringPromptTemplate] = AGGREGATOR_PROMPT
    min_proposals: int = 1
    include_proposals: bool = False
    stream_proposals: bool = False
    on_progress: SkipValidation[OnProgress | None] = None
    temperature: Temperature | None = None
    max_tokens: Tokens | None = None
    stop: list[str] | None = None
    proposal_temperature: Temperature | None = None
    proposal_max_tokens: Tokens | None = None
    proposal_kwargs: dict[str, Any] = Field(default_factory=dict)
    api_key: SecretStr | str | None = None
    base_url: str | None = None
    fallbacks: SkipValidation[Fallbacks] = Field(default_factory=dict)
    proposer_timeout: Seconds | None = PROPOSER_TIMEOUT
    aggregator_timeout: Seconds | None = AGGREGATOR_TIMEOUT
    layer_timeout: Seconds | None = None
    timeout: Seconds | None = TIMEOUT
    quorum: SkipValidation[Quorum] = None
    grace: Grace = GRACE
    hedge_after: Seconds | None = None
    max_retries: Retries = MAX_RETRIES
    on_no_proposals: SkipValidation[OnNoProposals] = "raise"
    on_aggregator_failure: SkipValidation[OnAggregatorFailure] = "raise"
    circuit_breaker: SkipValidation[CircuitBreaker | None] = None
    max_concurrency: int | None = Field(default=None, gt=0)
    member_concurrency: SkipValidation[MemberConcurrency] = None
    sequential: bool = False
    prices: SkipValidation[Prices | None] = None
    max_calls: int | None = None
    max_total_tokens: int | None = None
    max_cost: float | None = None
    on_budget: SkipValidation[OnBudget] = "degrade"
    proposal_filter: SkipValidation[ProposalFilter] = None
    max_input_tokens: SkipValidation[int | dict[str, int] | None] = None
    fan_out: SkipValidation[FanOut] = "user_turns"
    reuse_proposals: bool = True
    describe_tools: bool = True
    tools_for: SkipValidation[ToolsFor] = "aggregator"
    structured_proposals: bool = False
    on_unsupported: SkipValidation[OnUnsupported] = "drop_content"
    context_filter: SkipValidation[ContextFilter] = None
    profiles: SkipValidation[dict[str, ModelProfile]] = Field(default_factory=dict)
    streaming: bool = False

    _built: tuple[tuple[Any, ...], Mixture] | None = PrivateAttr(default=None)
    _graph: tuple[Mixture, CompiledGraph] | None = PrivateAttr(default=None)

    is_mixture: ClassVar[bool] = True
    """Tells that one answer takes several model calls, so that their usage is metered."""

    if not TYPE_CHECKING:  # type checkers see the constructor that the fields make

        def __init__(self, **data: Any) -> None:
            try:
                super().__init__(**data)
            except ValidationError as error:
                raise from_validation(error) from None

    @classmethod
    def self_moa(
        cls,
        model: MemberLike,
        *,
        samples: int = 6,
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
        given: Any = samples  # callers without a type checker give other things
        if not isinstance(given, int) or given < 1:
            msg = f"samples={samples!r} must be a whole number, 1 or more."
            raise MoAConfigurationError(msg)
        if "reference_models" in options:
            msg = "reference_models: in Self-MoA they are the model itself; leave them out."
            raise MoAConfigurationError(msg)
        return cls(
            reference_models=[model] * samples,
            aggregator=model if aggregator is None else aggregator,
            **options,
        )

    @classmethod
    def from_config(
        cls, source: ConfigSource, *, trusted_hosts: Collection[str] = (), **overrides: Any
    ) -> Self:
        """The mixture that a file or a dict describes.

        Args:
            source: Path of a `.toml`, `.yaml` or `.json` file, or its settings as a dict: the
                arguments of `MoAChatModel`, members as strings, as `{"model": "provider:model",
                option: value}`, or as the settings of a mixture inside. In TOML, which has no
                `null`, `timeout = inf` is no limit.
            trusted_hosts: Hosts that may get keys although only the source names them. Without
                that a key goes to its provider's own hosts, to those that the environment names
                for the provider (`TOGETHER_API_BASE`), to a `base_url` given here, and to this
                machine.
            **overrides: Arguments that replace or add to those of the source. `api_key`, and
                `base_url` where they have none of their own, count for mixtures inside, too.

        Raises:
            MoAConfigurationError: A setting is unknown, wrong, or a key, which belongs into the
                environment; an address is not trusted; or the file can't be read. The message
                names the file and the setting.
            MissingExtraError: A string names a provider whose package is not installed.

        Example:
            >>> from langchain_moa import MoAChatModel
            >>> config = {
            ...     "reference_models": ["openai/gpt-oss-20b", "deepseek-ai/DeepSeek-V4-Pro"],
            ...     "aggregator": {"model": "deepseek-ai/DeepSeek-V4-Pro", "max_tokens": 2048},
            ...     "timeout": 60.0,
            ... }
            >>> llm = MoAChatModel.from_config(config, api_key="your key")
            >>> llm.to_config() == config
            True
        """
        try:
            trusted = checked_hosts(trusted_hosts)
            settings = settings_of(source, partial(cls._inside, overrides, trusted))
            left = {name: value for name, value in settings.items() if name not in overrides}
            require_trusted(left, trusted)
            return cls(**left, **overrides)
        except MoAConfigurationError as error:
            if isinstance(source, Mapping) or str(error).startswith(str(source)):
                raise
            msg = f"{source}: {error}"
            raise MoAConfigurationError(msg) from None

    @classmethod
    def _inside(
        cls, overrides: Mapping[str, Any], trusted: Collection[str], source: Mapping[str, Any]
    ) -> Self:
        """A mixture that is a member of another one, at the same endpoint if it names none."""
        names = {"api_key"} if "base_url" in source else {"api_key", "base_url"}
        own = {name: value for name, value in overrides.items() if name in names}
        return cls.from_config(source, trusted_hosts=trusted, **own)

    def to_config(self, path: str | Path | None = None) -> dict[str, Any]:
        """The settings of this mixture as plain data, without keys.

        Args:
            path: A `.toml`, `.yaml` or `.json` file to write them to.

        Returns:
            The settings that are not the default; `from_config` makes the same mixture of them.
            Keys and listeners (`callbacks`, `on_progress`) belong to the program and are left out.

        Raises:
            MoAConfigurationError: A setting can't be written, such as a function or a chain; or
                the file can't be.
        """
        config = config_of(self)
        if path is not None:
            write_settings(config, Path(path))
        return config

    @model_validator(mode="before")
    @classmethod
    def _build_members(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Refuse unknown arguments, and make models of strings once for all later copies."""
        check_names(data, list(cls.model_fields))
        if isinstance(data.get("api_key"), str):
            data = {**data, "api_key": SecretStr(data["api_key"])}
        return {**data, **built_members(data)}

    @model_validator(mode="after")
    def _check_mixture(self) -> Self:
        _ = self._mixture
        return self

    @field_serializer("reference_models", "aggregator", "fallbacks")
    def _dump_names(self, value: Any) -> Any:
        """Dump members as names: a member's own dump may hold headers, and headers keys."""
        if value is self.fallbacks:
            return {name: self._dump_names(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._dump_names(item) for item in value]
        if isinstance(value, Mapping):
            value = value.get("model")
        return model_of(value) if isinstance(value, Runnable) else value

    @property
    def num_layers(self) -> int:
        """Number of layers, the aggregator's counted, whether given or followed from lists."""
        return self._mixture.layers

    @property
    def _mixture(self) -> Mixture:
        """The checked mixture of the current fields.

        It is made anew when a field was changed, as `model_copy(update=...)` does without
        validation.
        """
        values = _fields_of(self)
        if self._built is not None and all(map(operator.is_, self._built[0], values)):
            return self._built[1]
        self._check_recursion()
        options = dict(zip(OPTION_NAMES, values[2:], strict=True))
        mixture = build_mixture(self.reference_models, self.aggregator, **options)
        self._built = (values, mixture)
        return mixture

    def _check_recursion(self) -> None:
        for field in ("reference_models", "aggregator", "fallbacks"):
            if holds(getattr(self, field), self):
                msg = f"{field} holds the mixture itself; give another model, or a copy of it."
                raise MoAConfigurationError(msg)

    @property
    def graph(self) -> CompiledGraph:
        """The mixture as one LangGraph graph over `{"messages": [...]}`.

        Add it as a node to a graph over `MessagesState`, draw it with
        `graph.get_graph(xray=1).draw_mermaid()`, or compile `graph.builder` again with a
        checkpointer.
        """
        mixture = self._mixture
        if self._graph is None or self._graph[0] is not mixture:
            self._graph = (mixture, mixture_graph(mixture, self.name or MODEL_NAME))
        return self._graph[1]

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """A copy that is built anew: what is built holds locks."""
        bare = self.model_copy()
        bare._built = bare._graph = None  # noqa: SLF001 - of its own class
        return super(MoAChatModel, bare).__deepcopy__(memo)

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        private = {**(state["__pydantic_private__"] or {}), "_built": None, "_graph": None}
        return {**state, "__pydantic_private__": private}


_fields_of: Final = operator.attrgetter("reference_models", "aggregator", *OPTION_NAMES)

ChatMoA = MoAChatModel
"""`MoAChatModel` under the name that LangChain's convention for chat models gives it."""
