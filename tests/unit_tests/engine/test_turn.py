"""One member's turn: what is tried again, when, by whom, and what the record says of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.caches import InMemoryCache
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
)
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableLambda

from langchain_moa import (
    AggregationError,
    CircuitBreaker,
    MoAChatModel,
    MoAError,
    NotEnoughProposalsError,
)
from langchain_moa.reliability.retries import is_retryable, pause_before_retry
from langchain_moa.reliability.waiting import Result
from langchain_moa.testing import ScriptedChatModel
from tests.wire import LIMITS, until

LONG = 20.0
"""Seconds that nothing in these tests takes unless it is broken."""
WAYS = ("invoke", "ainvoke")


def after(value: str, error: ModelError | None = None) -> ModelError:
    """An error of a provider that asks to wait."""
    asks = error or ModelRateLimitError("busy")
    asks.response = SimpleNamespace(headers={"retry-after": value})  # type: ignore[attr-defined]
    return asks


def now(error: ModelError) -> ModelError:
    """An error of a provider that may be asked again at once."""
    return after("0.001", error)


def pause(error: Exception | None, attempt: int = 0, *, good: bool = False) -> float | None:
    return pause_before_retry(Result(good=good, ended="raised", error=error), attempt)


class Script:
    """Gives or raises one thing after the other, the last one again and again."""

    def __init__(self, *outcomes: str | AIMessage | Exception) -> None:
        self._outcomes = list(outcomes)
        self.calls = 0

    def __call__(self, _: list[BaseMessage]) -> str | AIMessage:
        self.calls += 1
        outcome = self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Hanging:
    """A member that answers only when it is released."""

    def __init__(self, name: str = "hangs") -> None:
        self.begun = 0
        self.cancelled = 0
        self._free = threading.Event()
        self.runnable: Any = RunnableLambda(self._hang, afunc=self._ahang, name=name)

    def release(self) -> None:
        self._free.set()

    def begin_anew(self) -> None:
        self.begun = 0
        self._free.clear()

    def _hang(self, _: Any) -> str:
        self.begun += 1
        self._free.wait(LONG)
        return "too late"

    async def _ahang(self, _: Any) -> str:
        self.begun += 1
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return "too late"


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    made = Hanging()
    yield made
    made.release()


def model(script: Any, name: str = "first") -> ScriptedChatModel:
    if isinstance(script, str):
        return ScriptedChatModel.saying(script, model=name)
    return ScriptedChatModel(script=script, model=name)


def mixture(first: Any, **options: Any) -> MoAChatModel:
    member = first if isinstance(first, RunnableLambda) else model(first)
    defaults: dict[str, Any] = {
        "reference_models": [member, model("4", "other")],
        "aggregator": model("It is 4.", "judge"),
    }
    return MoAChatModel(**{**defaults, **options})


async def record_of(llm: MoAChatModel, way: str, question: str = "Go") -> Any:
    if way == "invoke":
        answer = await asyncio.to_thread(llm.invoke, question)
    else:
        answer = await llm.ainvoke(question)
    return answer.response_metadata["moa"]


# --- how long to pause ---


def test_pauses_grow_up_to_a_limit_with_jitter() -> None:
    for attempt, longest in enumerate([0.5, 1.0, 2.0, 4.0, 8.0, 8.0]):
        pauses = {pause(ModelAPIError("500"), attempt) for _ in range(50)}
        assert all(longest / 2 <= (p or 0) <= longest for p in pauses)
        assert len(pauses) > 1


@pytest.mark.parametrize(
    "error",
    [
        ModelInvalidRequestError("400"),
        ModelAuthenticationError("401"),
        ModelPermissionDeniedError("403"),
        ModelNotFoundError("404"),
        ContextOverflowError("too long"),
        ValueError("a bug"),
        TimeoutError("of the member's own"),
        None,
    ],
)
def test_what_is_not_worth_a_retry(error: Exception | None) -> None:
    assert pause(error) is None


def test_a_good_result_is_not_tried_again() -> None:
    assert pause(ModelAPIError("500"), good=True) is None


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("0.25", 0.25), ("0", 0), ("-3", 0)])
def test_retry_after_in_seconds(value: str, seconds: float) -> None:
    for _ in range(20):
        assert seconds <= (pause(after(value)) or 0.0) <= seconds * 1.1


def test_retry_after_as_a_date() -> None:
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 55 <= (pause(after(in_a_minute)) or 0.0) <= 66
    assert pause(after("Wed, 21 Oct 2015 07:28:00 GMT")) == 0.0


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "soon", "1,5", "Wed, 99 Oct 2099 99:99:99 GMT", "12 parsecs", "\x00"),
        "Fri, 31 Dec 99999 23:59:59 GMT",
        "Fri, 31 Dec 1999 23:59:59 +9999",
        "Fri, 31 Dec 1999 23:59:59 +99999999999999999999",
        "nan",
    ],
)
def test_a_retry_after_that_says_nothing(value: str) -> None:
    found = pause(after(value))
    assert found is not None
    assert 0.25 <= found <= 0.5  # as without it


@settings(derandomize=True, max_examples=300)
@given(st.text("0123456789 :,+-.eGMTJanWedinf", max_size=40))
def test_no_retry_after_breaks_a_turn(value: str) -> None:
    assert (pause(after(value)) or 0.0) >= 0.0


@pytest.mark.parametrize("response", [None, SimpleNamespace(), SimpleNamespace(headers=None), {}])
def test_errors_without_headers(response: Any) -> None:
    error = ModelRateLimitError("busy")
    error.response = response  # type: ignore[attr-defined]
    assert 0.25 <= (pause(error) or 0.0) <= 0.5


@pytest.mark.parametrize(
    ("result", "retryable"),
    [
        (Result(ended="timed_out"), True),
        (Result(ended="refused"), True),
        (Result(ended="cut"), False),
        (Result(ended="answered"), False),
        (Result(ended="raised", error=ModelAPIError("500")), True),
        (Result(ended="raised", error=ModelNotFoundError("404")), False),
        (Result(ended="timed_out", error=ModelTimeoutError("slow")), True),
        (Result(ended="timed_out", error=TimeoutError()), False),
    ],
)
def test_what_a_caller_may_try_again(result: Result, *, retryable: bool) -> None:
    assert is_retryable(result) is retryable


# --- retries ---


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "error", [ModelRateLimitError("429"), ModelConnectionError("reset"), ModelTimeoutError("slow")]
)
async def test_a_failed_request_is_made_again(way: str, error: ModelError) -> None:
    events: list[Any] = []
    script = Script(now(error), now(error), "4")
    record = await record_of(mixture(script, on_progress=events.append), way)
    proposal = record["proposals"][0]
    assert (proposal["status"], proposal["attempts"], script.calls) == ("ok", 3, 3)
    assert proposal["error"] is None
    assert record["degraded"] is False
    assert record["usage"]["unknown"] == ["first"]  # nobody knows what the failed ones used
    told = [e["event"] for e in events if e["model"] == "first"]
    assert told == ["member_started", "member_retried", "member_retried", "member_finished"]
    retried = [e for e in events if e["event"] == "member_retried"]
    assert [str(error) in e["error"] and e["seconds"] > 0 for e in retried] == [True, True]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_retries_end(way: str, retries: int) -> None:
    script = Script(now(ModelAPIError("500")))
    proposal = (await record_of(mixture(script, max_retries=retries), way))["proposals"][0]
    assert (proposal["status"], proposal["attempts"]) == ("failed", retries + 1)
    assert proposal["error"] == "ModelAPIError: 500"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "error",
    [
        ModelInvalidRequestError("400"),
        ModelAuthenticationError("401"),
        ModelNotFoundError("404"),
        ContextOverflowError("too long"),
        ZeroDivisionError("a bug"),
    ],
)
async def test_what_would_be_the_same_again_is_not_made_again(way: str, error: Exception) -> None:
    script = Script(error)
    proposal = (await record_of(mixture(script), way))["proposals"][0]
    assert (proposal["status"], proposal["attempts"], script.calls) == ("failed", 1, 1)


@pytest.mark.parametrize("way", WAYS)
async def test_an_empty_answer_is_not_asked_for_again(way: str) -> None:
    script = Script("")
    proposal = (await record_of(mixture(script), way))["proposals"][0]
    assert (proposal["status"], script.calls) == ("empty", 1)


@pytest.mark.parametrize("own", [0, 1, None])
def test_retries_are_not_multiplied_with_the_clients_own(own: int | None) -> None:
    class Client(ScriptedChatModel):
        max_retries: int | None = None

    script = Script(now(ModelAPIError("500")))
    client = Client(script=script, model="first", max_retries=own)
    mixture(script, reference_models=[client, model("4", "other")]).invoke("Go")
    assert script.calls == (3 if own == 0 else 1)


@pytest.mark.parametrize("kind", ["with_retry", "chain", "mixture"])
def test_members_that_repeat_requests_themselves_are_left_to_it(kind: str) -> None:
    script = Script(now(ModelAPIError("500")))
    inner = model(script)
    member: Any = {
        "with_retry": inner.with_retry(stop_after_attempt=2, wait_exponential_jitter=False),
        "chain": RunnableLambda(lambda x: x) | inner,
        "mixture": MoAChatModel(reference_models=[inner], aggregator=inner, max_retries=0),
    }[kind]
    mixture(script, reference_models=[member, model("4", "other")]).invoke("Go")
    assert script.calls == (2 if kind == "with_retry" else 1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "limits", [{"proposer_timeout": 30}, {"layer_timeout": 30}, {"timeout": 30}]
)
async def test_nobody_pauses_beyond_the_deadline(way: str, limits: dict[str, float]) -> None:
    script = Script(after("3600"), "4")
    proposal = (await record_of(mixture(script, **limits), way))["proposals"][0]
    assert (proposal["status"], proposal["attempts"]) == ("failed", 1)
    assert proposal["seconds"] < LONG  # of the 30 that it might have waited


@pytest.mark.parametrize("way", WAYS)
async def test_a_pause_ends_when_the_layer_goes_on(way: str) -> None:
    script = Script(after("15"), "4")
    proposal = (await record_of(mixture(script, quorum=1, grace=0), way))["proposals"][0]
    assert (proposal["status"], proposal["attempts"]) == ("cut", 1)


@pytest.mark.parametrize("way", WAYS)
async def test_the_aggregators_requests_are_made_again_too(way: str) -> None:
    script = Script(now(ModelAPIError("500")), "It is 4.")
    record = await record_of(mixture("4", aggregator=model(script, "judge")), way)
    assert (record["aggregator"]["status"], record["aggregator"]["attempts"]) == ("ok", 2)
    assert record["aggregator"]["error"] is None


# --- deadlines ---


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("limit", "others"),
    [
        ("proposer_timeout", {}),
        ("layer_timeout", {}),
        ("layer_timeout", {"proposer_timeout": None}),
    ],
)
async def test_a_proposer_over_its_time(
    hanging: Hanging, way: str, limit: str, others: dict[str, Any]
) -> None:
    for seconds in LIMITS:
        hanging.begun = hanging.cancelled = 0
        llm = mixture(hanging.runnable, **{limit: seconds}, **others)
        record = await record_of(llm, way)
        late, other = record["proposals"]
        told = f"no answer in time ({limit}={seconds:g} s)"
        assert (late["status"], late["error"]) == ("timed_out", told)
        if (hanging.begun, other["status"]) == (1, "ok"):
            break
    assert (late["attempts"], other["status"]) == (1, "ok")
    assert record["usage"]["unknown"] == ["hangs"]
    assert hanging.cancelled == (way == "ainvoke")


@pytest.mark.parametrize("way", WAYS)
async def test_an_aggregator_over_its_time(hanging: Hanging, way: str) -> None:
    for seconds in LIMITS:
        llm = mixture("4", aggregator=hanging.runnable, aggregator_timeout=seconds)
        with pytest.raises(AggregationError, match=f"aggregator_timeout={seconds:g} s") as caught:
            await record_of(llm, way)
        assert [p.text for p in caught.value.proposals] == ["4", "4"]
        if hanging.begun:
            break
    assert hanging.begun == 1


@pytest.mark.parametrize("way", WAYS)
async def test_the_whole_calls_time(hanging: Hanging, way: str) -> None:
    for seconds in LIMITS:  # the next one where the time was over before the aggregator's turn
        llm = mixture("4", aggregator=hanging.runnable, timeout=seconds)
        with pytest.raises(MoAError) as caught:
            await record_of(llm, way)
        if isinstance(caught.value, AggregationError):
            break
    assert isinstance(caught.value, AggregationError)
    assert f"no answer in time (timeout={seconds} s)" in str(caught.value)


# --- fallbacks ---


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("outcome", [ModelNotFoundError("gone"), now(ModelAPIError("500")), ""])
async def test_a_fallback_answers_for_a_reference_model(way: str, outcome: Any) -> None:
    fallbacks = {"first": [model(Script(ValueError("also")), "second"), model("4", "third")]}
    record = await record_of(mixture(Script(outcome), fallbacks=fallbacks), way)
    proposal = record["proposals"][0]
    assert (proposal["status"], proposal["model"], proposal["model_name"]) == (
        *("ok", "third", "third"),
    )
    told = proposal["error"].split("; ")
    assert [reason.partition(":")[0] for reason in told if ": " in reason] == ["first", "second"]
    assert record["degraded"] is False


@pytest.mark.parametrize("way", WAYS)
async def test_all_failures_are_told_in_order(way: str) -> None:
    fallbacks = {"first": [model("", "second"), model(Script(KeyError("x")), "third")]}
    script = Script(ModelNotFoundError("gone"))
    proposal = (await record_of(mixture(script, fallbacks=fallbacks), way))["proposals"][0]
    assert (proposal["status"], proposal["attempts"]) == ("failed", 3)
    assert proposal["error"] == (
        "first: ModelNotFoundError: gone; second: no text; finish_reason is None; "
        "third: KeyError: 'x'"
    )


@pytest.mark.parametrize("way", WAYS)
async def test_a_fallback_answers_for_one_that_takes_too_long(hanging: Hanging, way: str) -> None:
    for seconds in LIMITS:
        llm = mixture(
            hanging.runnable,
            proposer_timeout=seconds,
            fallbacks={"hangs": model("4", "spare")},
            on_no_proposals="aggregate_alone",
        )
        proposal = (await record_of(llm, way))["proposals"][0]
        if (proposal["status"], proposal["attempts"]) == ("ok", 2):
            break
    assert (proposal["status"], proposal["model"], proposal["attempts"]) == ("ok", "spare", 2)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("outcome", [ModelNotFoundError("gone"), ""])
async def test_aggregators_are_tried_in_order(way: str, outcome: Any) -> None:
    script = Script(outcome)
    judges = [model(script, "judge"), model("It is 4.", "spare"), model("unasked", "last")]
    record = await record_of(mixture("4", aggregator=judges), way)
    told = record["aggregator"]
    assert (told["model"], told["model_name"], told["status"]) == ("spare", "spare", "ok")
    assert told["attempts"] == 2
    assert told["error"].startswith("judge: ")
    assert judges[2].calls == []
    assert record["degraded"] is False


@pytest.mark.parametrize("way", WAYS)
async def test_a_slow_aggregator_is_followed_by_the_next(hanging: Hanging, way: str) -> None:
    judges = [hanging.runnable, model("It is 4.", "spare")]
    for seconds in LIMITS:
        llm = mixture(
            "4",
            aggregator=judges,
            aggregator_timeout=seconds,
            on_aggregator_failure="best_proposal",
        )
        record = await record_of(llm, way)
        told = record["aggregator"]
        if (told["model"], told["attempts"]) == ("spare", 2):
            break
    assert (told["status"], told["model"]) == ("ok", "spare")
    assert told["error"] == f"hangs: no answer in time (aggregator_timeout={seconds:g} s)"
    assert record["usage"]["unknown"] == ["hangs"]


@pytest.mark.parametrize("way", WAYS)
async def test_when_all_aggregators_fail_every_reason_is_told(way: str) -> None:
    judges = [model(Script(ValueError("no")), "judge"), model("", "spare")]
    with pytest.raises(AggregationError, match=r"judge: ValueError: no; spare: no text") as caught:
        await record_of(mixture("4", aggregator=judges), way)
    assert [p.text for p in caught.value.proposals] == ["4", "4"]


@pytest.mark.parametrize("way", WAYS)
async def test_the_best_proposal_answers_where_no_aggregator_does(way: str) -> None:
    llm = mixture(
        "It is 42, I think.",
        reference_models=[model("Fish."), model("It is 42."), model("I say it is 42.")],
        aggregator=model(Script(ValueError("no")), "judge"),
        on_aggregator_failure="best_proposal",
    )
    record = await record_of(llm, way)
    assert record["best_proposal"] == "1.1"
    assert record["degraded"] is True
    assert record["aggregator"]["status"] == "failed"
    assert "ValueError: no" in record["aggregator"]["error"]


def test_a_stopgap_is_not_given_again_from_the_cache() -> None:
    """Not to a mixture that would raise, and not once the aggregator is back."""
    cache, script = InMemoryCache(), Script(ValueError("no"), "It is 4.")
    judge, proposer = model(script, "judge"), model("4", "first")

    def ask(choice: str) -> str:
        llm = mixture(
            "",
            reference_models=[proposer],
            aggregator=judge,
            cache=cache,
            on_aggregator_failure=choice,
        )
        return llm.invoke("Go").text

    assert ask("best_proposal") == "4"
    assert ask("raise") == "It is 4."


# --- hedging ---


@pytest.mark.parametrize("way", WAYS)
async def test_a_second_request_to_the_same_member(way: str) -> None:
    free = threading.Event()

    class Slow(ScriptedChatModel):
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            if not self._calls:
                self._calls.append(([], {}))
                free.wait(LONG)
            return super()._generate(*args, **kwargs)

        async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
            if not self._calls:
                self._calls.append(([], {}))
                await asyncio.sleep(LONG)
            return await super()._agenerate(*args, **kwargs)

    slow = Slow(script=lambda _: "4", model="first")
    llm = mixture("4", reference_models=[slow], hedge_after=0.05)
    record = await record_of(llm, way)
    free.set()
    (proposal,) = record["proposals"]
    assert (proposal["status"], proposal["attempts"]) == ("ok", 2)
    assert "first" in record["usage"]["unknown"]  # the request that came second


@pytest.mark.parametrize("way", WAYS)
async def test_a_second_request_to_the_fallback(hanging: Hanging, way: str) -> None:
    llm = mixture(hanging.runnable, hedge_after=0.05, fallbacks={"hangs": model("4", "spare")})
    proposal = (await record_of(llm, way))["proposals"][0]
    assert (proposal["status"], proposal["model"], proposal["attempts"]) == ("ok", "spare", 2)
    assert hanging.cancelled == (way == "ainvoke")


@pytest.mark.parametrize("way", WAYS)
async def test_a_quick_answer_is_not_hedged(way: str) -> None:
    record = await record_of(mixture("4", hedge_after=LONG), way)
    assert [p["attempts"] for p in record["proposals"]] == [1, 1]


@pytest.mark.parametrize("way", WAYS)
async def test_a_hedge_needs_a_place_too(hanging: Hanging, way: str) -> None:
    """`max_concurrency` holds for all requests of a mixture, or one GPU gets two at once."""
    llm = mixture(
        hanging.runnable,
        reference_models=[hanging.runnable],
        hedge_after=0.02,
        sequential=True,
        proposer_timeout=0.2,
        timeout=3.0,  # for half of what is left of it the aggregator waits for the thread's end
        on_no_proposals="aggregate_alone",
    )
    await record_of(llm, way)
    assert hanging.begun <= 1


@pytest.mark.parametrize("way", WAYS)
async def test_a_refused_hedge_takes_no_place(way: str) -> None:
    """Nor does it queue for one, which it would get later and keep to the end."""
    for seconds in LIMITS:
        if await who_gets_a_place(way, seconds) == "Two":
            return
    pytest.fail("a refused hedge got the place that became free")


async def who_gets_a_place(way: str, seconds: float) -> str:
    """Whose request is made when a place becomes free: of two calls that keep all busy.

    Args:
        way: How the mixture is called.
        seconds: In which the hedges of the first call are refused, and the second call queues.
    """
    asked, goes_on, ends = list[str](), threading.Event(), threading.Event()

    def member(name: str, free: threading.Event) -> Any:
        def work(given: Any) -> str:
            asked.append(given[-1].text)
            free.wait(LONG)
            return "4"

        async def awork(given: Any) -> str:
            asked.append(given[-1].text)
            await until(free.is_set)
            return "4"

        return RunnableLambda(work, afunc=awork, name=name)

    options: dict[str, Any] = {"max_concurrency": 2, "hedge_after": 0.02, "quorum": 2}
    members = [member("first", ends), member("other", goes_on)]
    llm = mixture("4", reference_models=members, **options)
    first = asyncio.ensure_future(record_of(llm, way, "One"))
    await until(lambda: len(asked) == 2)
    await asyncio.sleep(seconds)
    second = asyncio.ensure_future(record_of(llm, way, "Two"))
    await asyncio.sleep(seconds)
    assert asked == ["One", "One"]
    goes_on.set()
    await until(lambda: len(asked) > 2)
    assert not first.done()
    ends.set()
    await asyncio.wait([first, second])
    return asked[2]


# --- limits ---


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({}, 4),
        ({"max_concurrency": 2}, 2),
        ({"sequential": True}, 1),
        ({"member_concurrency": 1}, 1),
        ({"member_concurrency": {"first": 3}}, 3),
    ],
)
async def test_so_many_run_at_the_same_time(way: str, options: Any, most: int) -> None:
    lock, inside, seen = threading.Lock(), [0], [0]
    full = threading.Event()

    def enter() -> None:
        with lock:
            inside[0] += 1
            seen[0] = max(seen[0], inside[0])
            if inside[0] >= most:
                full.set()

    def work(_: Any) -> str:
        enter()
        full.wait(LONG)
        with lock:
            inside[0] -= 1
        return "4"

    async def awork(_: Any) -> str:
        enter()
        while not full.is_set():  # noqa: ASYNC110 - it is set in either way
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        inside[0] -= 1
        return "4"

    member: Any = RunnableLambda(work, afunc=awork, name="first")
    record = await record_of(mixture("4", reference_models=[member] * 4, **options), way)
    assert [p["status"] for p in record["proposals"]] == ["ok"] * 4
    assert seen[0] == most


@pytest.mark.parametrize("way", WAYS)
async def test_who_waits_for_a_place_until_the_end_made_no_request(
    hanging: Hanging, way: str
) -> None:
    llm = mixture("4", aggregator=hanging.runnable, sequential=True, layer_timeout=1.0)
    other = asyncio.ensure_future(record_of(llm, way))
    await until(lambda: hanging.begun or other.done())
    try:
        with pytest.raises(NotEnoughProposalsError) as failed:
            await record_of(llm, way)
    finally:
        hanging.release()
        other.cancel()
    told = [(p.status, p.attempts) for p in failed.value.proposals]
    assert told == [("timed_out", 0)] * 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("hung", "limits"),
    [
        (1, {"sequential": True}),
        (2, {"max_concurrency": 1}),
        (2, {"max_concurrency": 2}),
        (1, {"max_concurrency": 1, "timeout": None, "layer_timeout": 0.0}),
        (1, {"sequential": True, "layers": 3}),
    ],
)
async def test_who_hangs_leaves_time_to_those_that_wait_for_its_place(
    hanging: Hanging, way: str, hung: int, limits: dict[str, Any]
) -> None:
    """A thread that hangs can't be ended, and nobody asked after it waits for it, either."""
    name = "layer_timeout" if "layer_timeout" in limits else "timeout"
    for seconds in LIMITS:
        members = [*[hanging.runnable] * hung, model("4", "first"), model("4", "other")]
        given = {**limits, name: 2 * seconds}
        llm = mixture("4", reference_models=members, **given)
        with suppress(NotEnoughProposalsError, AggregationError):
            record = await record_of(llm, way)
            proposals, layers = record["proposals"], limits.get("layers", 2) - 1
            if [p["status"] for p in proposals].count("ok") == 2 * layers:
                break
    assert [p["status"] == "ok" for p in proposals] == [*[False] * hung, True, True] * layers
    shared = f"{name}={2 * seconds:g} s, shared with those that wait for its place"
    # of two that hold all places it is enough if one gives up its own
    assert f"no answer in time ({shared})" in {p["error"] for p in proposals[:hung]}
    assert record["aggregator"]["status"] == "ok"


@pytest.mark.parametrize("way", WAYS)
async def test_a_fallback_that_waits_for_a_place_gets_one(hanging: Hanging, way: str) -> None:
    """The first member has failed, and given its place to the third one, which hangs, too."""
    for seconds in LIMITS:
        llm = mixture(
            "4",
            reference_models=[model(Script(ValueError("no"))), *[hanging.runnable] * 2],
            fallbacks={"first": [model("4", "spare")]},
            max_concurrency=2,
            timeout=2 * seconds,
        )
        with suppress(NotEnoughProposalsError, AggregationError):
            proposals = (await record_of(llm, way))["proposals"]
            break
    told = [(p["model"], p["status"] == "ok") for p in proposals]
    assert told == [("spare", True), ("hangs", False), ("hangs", False)]


@pytest.mark.parametrize("way", WAYS)
async def test_who_pauses_long_before_it_is_asked_again_leaves_its_place(way: str) -> None:
    busy = Script(after("30"))
    members = [model(busy), model("4", "other")]
    llm = mixture("4", reference_models=members, sequential=True, layer_timeout=45.0)
    proposals = (await record_of(llm, way))["proposals"]
    assert [(p["status"], p["attempts"]) for p in proposals] == [("failed", 1), ("ok", 1)]


@pytest.mark.parametrize("way", WAYS)
async def test_who_is_slow_is_not_cut_where_nobody_waits(way: str) -> None:
    """It takes more than half of its layer's time, in which two others have answered in turn."""
    for seconds in LIMITS:
        calm = threading.Event()
        ends = threading.Timer(0.7 * seconds, calm.set)

        def work(_: Any, calm: threading.Event = calm) -> str:
            calm.wait(LONG)
            return "4"

        async def awork(_: Any, calm: threading.Event = calm) -> str:
            await until(calm.is_set)
            return "4"

        slow: Any = RunnableLambda(work, afunc=awork, name="slow")
        members = [slow, model("4"), model("4", "other")]
        llm = mixture("4", reference_models=members, max_concurrency=2, layer_timeout=seconds)
        ends.start()
        proposals = (await record_of(llm, way))["proposals"]
        ends.join()
        if [p["status"] for p in proposals] == ["ok"] * 3:
            return
    pytest.fail("the slow member was cut, although nobody waited for its place")


# --- the budget ---


@pytest.mark.parametrize("way", WAYS)
async def test_the_budget_ends_retries(way: str) -> None:
    script, events = Script(now(ModelAPIError("500"))), list[Any]()
    llm = mixture(script, max_calls=4, max_retries=5, on_progress=events.append)
    proposal = (await record_of(llm, way))["proposals"][0]
    assert (proposal["status"], proposal["attempts"]) == ("failed", 2)
    assert sum(e["event"] == "member_retried" for e in events) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_the_budget_ends_fallbacks(way: str) -> None:
    spares = [model("", "second"), model("4", "third")]
    llm = mixture(Script(ValueError("no")), fallbacks={"first": spares}, max_calls=4)
    proposal = (await record_of(llm, way))["proposals"][0]
    assert (proposal["status"], proposal["attempts"]) == ("empty", 2)
    assert spares[1].calls == []


@pytest.mark.parametrize("way", WAYS)
async def test_the_budget_forbids_hedges(hanging: Hanging, way: str) -> None:
    llm = mixture(
        hanging.runnable, hedge_after=0.01, max_calls=3, on_no_proposals="aggregate_alone"
    )
    for seconds in LIMITS:
        llm.proposer_timeout = seconds
        proposal = (await record_of(llm, way))["proposals"][0]
        if hanging.begun:
            break
    assert (proposal["status"], proposal["attempts"]) == ("timed_out", 1)


@pytest.mark.parametrize("who", ["proposer", "aggregator"])
def test_a_fallback_is_admitted_by_its_own_price(who: str) -> None:
    dear = ScriptedChatModel.saying("x", model="dear")
    broken = Script(ModelNotFoundError("gone"))
    options: dict[str, Any] = {"fallbacks": {"first": dear}}
    if who == "aggregator":
        options = {"aggregator": [model(broken, "judge"), dear]}
    llm = mixture(
        broken if who == "proposer" else "4",
        **options,
        prices={"first": (1, 1), "other": (1, 1), "judge": (1, 1), "dear": (1e6, 1e6)},
        max_cost=1.0,
        on_aggregator_failure="best_proposal",
    )
    record = llm.invoke("Go").response_metadata["moa"]
    assert record["cost"]["usd"] <= 1.0
    assert dear.calls == []


def test_a_request_that_a_breaker_refused_is_not_taken_from_the_budget() -> None:
    gone = Script(ModelNotFoundError("gone"))
    sick = [model(gone, "first"), model(gone, "second")]

    def ask(max_calls: int) -> Any:
        llm = mixture(
            "",
            reference_models=sick[:1],
            fallbacks={"first": [sick[1], model("4", "third")]},
            circuit_breaker=breaker,
            max_calls=max_calls,
        )
        kept.append(llm)  # breakers live as long as their mixtures
        return llm.invoke("Go").response_metadata["moa"]["proposals"][0]

    kept: list[MoAChatModel] = []
    breaker = CircuitBreaker(failures=1, reset_after=3600)
    assert (ask(4)["status"], gone.calls) == ("ok", 2)
    again = ask(3)  # one request is left beside the aggregator's and the first member's
    assert (again["status"], again["model"], gone.calls) == ("ok", "third", 2)


# --- what is raised within ---


@pytest.mark.parametrize("way", WAYS)
async def test_a_members_own_timeout_is_told_as_one(way: str) -> None:
    script = Script(TimeoutError("read timed out"))
    proposal = (await record_of(mixture(script), way))["proposals"][0]
    assert proposal["status"] == "timed_out"
    assert proposal["error"] == "TimeoutError: read timed out"


async def test_a_member_that_cancels_itself_is_a_failure() -> None:
    async def cancels(_: Any) -> str:
        raise asyncio.CancelledError

    member: Any = RunnableLambda(lambda _: "4", afunc=cancels, name="first")
    proposal = (await record_of(mixture(member), "ainvoke"))["proposals"][0]
    assert (proposal["status"], proposal["error"]) == (
        *("failed", "the request was cancelled from within"),
    )
