"""Wrong settings are errors at construction that name field, value and mend."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda

from langchain_moa import CircuitBreaker, MoAChatModel, MoAConfigurationError, create_moa_graph
from langchain_moa.config.build import build_mixture
from langchain_moa.config.settings import MixtureSettings
from langchain_moa.mixture import Mixture
from langchain_moa.reliability.quorum import NEVER
from langchain_moa.testing import ScriptedChatModel

A, B, C, JUDGE = (ScriptedChatModel.saying(n, model=n) for n in ("a", "b", "c", "judge"))
MAKERS: list[Any] = [MoAChatModel, create_moa_graph]
TIMES = ("proposer_timeout", "aggregator_timeout", "layer_timeout", "timeout", "hedge_after")
NAN, INF = float("nan"), float("inf")


async def _later(_: list[str]) -> list[int]:
    return [0]


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    # how long
    *(({name: 0}, [f"{name}=0", "must be a "]) for name in TIMES),
    *(({name: -1.5}, [f"{name}=-1.5", "must be a "]) for name in TIMES),
    *(({name: NAN}, [f"{name}=nan must be a number above 0"]) for name in TIMES),
    *(({name: INF}, [f"{name}=inf", "must be a number"]) for name in TIMES),
    *(
        (
            {name: 1e9},
            [f"{name}=1000000000.0", "must be a number above 0, up to 31,536,000 seconds"],
        )
        for name in TIMES
    ),
    ({"grace": 1e300}, ["grace=1e+300 must be a number from 0 to 31,536,000 seconds"]),
    ({"on_progress": "print"}, ["on_progress='print'", "give a function of a ProgressEvent"]),
    *(({name: "soon"}, [f"{name}='soon'", "must be a number"]) for name in TIMES),
    ({"grace": -0.1}, ["grace=-0.1", "must be a "]),
    ({"grace": INF}, ["grace=inf", "must be a number"]),
    ({"grace": "x"}, ["grace='x'", "must be a number"]),
    # how often and how many
    ({"max_retries": -1}, ["max_retries=-1", "must be a "]),
    ({"max_retries": 1.5}, ["max_retries=1.5", "must be a whole number"]),
    ({"max_retries": "x"}, ["max_retries='x'", "must be a whole number"]),
    ({"min_proposals": 0}, ["min_proposals=0 must be a whole number from 1"]),
    ({"min_proposals": 3}, ["min_proposals=3 must be from 1 to 2", "smallest layer"]),
    ({"quorum": 0}, ["quorum=0 must be a count from 1 to 2", "a share above 0.0 and up to 1.0"]),
    ({"quorum": 3}, ["quorum=3 must be a count from 1 to 2"]),
    ({"quorum": -1}, ["quorum=-1 must be"]),
    ({"quorum": 0.0}, ["quorum=0.0 must be"]),
    ({"quorum": 1.5}, ["quorum=1.5 must be"]),
    ({"quorum": -0.5}, ["quorum=-0.5 must be"]),
    ({"quorum": NAN}, ["quorum=nan must be"]),
    ({"quorum": True}, ["quorum=True must be"]),
    ({"quorum": "half"}, ["quorum='half' must be"]),
    (
        {"quorum": 1, "min_proposals": 2},
        ["quorum=1 goes on with 1 proposals", "min_proposals=2", "a larger quorum"],
    ),
    (
        {"quorum": 0.5, "min_proposals": 2},
        ["quorum=0.5 goes on with 1 proposals", "a smaller minimum"],
    ),
    # choices
    ({"on_no_proposals": "x"}, ["on_no_proposals='x'", "'raise' or 'aggregate_alone'"]),
    ({"on_no_proposals": None}, ["on_no_proposals=None is unknown"]),
    ({"on_aggregator_failure": "x"}, ["on_aggregator_failure='x'", "'raise' or 'best_proposal'"]),
    ({"on_budget": "x"}, ["on_budget='x'", "'degrade' or 'raise'"]),
    ({"circuit_breaker": True}, ["circuit_breaker=True is none", "give CircuitBreaker(failures="]),
    ({"circuit_breaker": 5}, ["circuit_breaker=5 is none"]),
    ({"circuit_breaker": {"failures": 5}}, ["circuit_breaker=<dict> is none"]),
    # load
    ({"max_concurrency": 0}, ["max_concurrency=0", "must be a "]),
    ({"max_concurrency": "x"}, ["max_concurrency='x'", "must be a whole number"]),
    (
        {"max_concurrency": 2, "sequential": True},
        ["max_concurrency=2 contradicts sequential=True", "leave one of them out"],
    ),
    ({"sequential": "x"}, ["sequential='x'", "give True or False"]),
    ({"member_concurrency": 0}, ["member_concurrency=0 must be a whole number from 1"]),
    ({"member_concurrency": 1.5}, ["member_concurrency=1.5 must be"]),
    ({"member_concurrency": True}, ["member_concurrency=True must be"]),
    ({"member_concurrency": "x"}, ["member_concurrency='x' must be"]),
    ({"member_concurrency": {"a": 0}}, ["member_concurrency['a']=0 must be"]),
    ({"member_concurrency": {"a": 1, "b": None}}, ["member_concurrency['b']=None must be"]),
    ({"member_concurrency": {"b": True}}, ["member_concurrency['b']=True must be"]),
    # the budget
    *(
        ({name: value}, [f"{name}={value!r} must be a whole number from 1"])
        for name in ("max_calls", "max_total_tokens")
        for value in (0, -1)
    ),
    ({"max_calls": 1.5}, ["max_calls=1.5", "must be a whole number"]),
    ({"max_calls": "x"}, ["max_calls='x'", "must be a whole number"]),
    ({"max_total_tokens": "x"}, ["max_total_tokens='x'", "must be a whole number"]),
    ({"max_cost": 0}, ["max_cost=0", "must be a number above 0"]),
    ({"max_cost": -0.5}, ["max_cost=-0.5 must be a number above 0, up to 1,000,000,000,000 USD"]),
    ({"max_cost": NAN}, ["max_cost=nan must be a number above 0, up to 1,000,000,000,000 USD"]),
    ({"max_cost": "x"}, ["max_cost='x'", "must be a number"]),
    ({"max_cost": 1.0}, ["max_cost=1 needs the price of every member", "'a' has none"]),
    (
        {"max_cost": 1.0, "prices": {"a": (1, 1), "b": (1, 1)}},
        ["'judge' has none", "give prices={'judge': (in, out)}", "per million tokens"],
    ),
    (
        {
            "max_cost": 1.0,
            "fallbacks": {"a": C},
            "prices": dict.fromkeys(("a", "b", "judge"), (1, 1)),
        },
        ["'c' has none"],
    ),
    ({"max_cost": 1.0, "prices": lambda *_: None}, ["'a' has none"]),
    ({"prices": {"a": 1}}, ["prices['a']=1 is not a price"]),
    ({"prices": {"a": (1, -1)}}, ["prices['a'][1]=-1 must be a number from 0"]),
    ({"prices": {"": (1, 1)}}, ["prices[''] is not the name of a model"]),
    ({"prices": 3}, ["prices=3"]),
    # the rest
    ({"max_input_tokens": 0}, ["max_input_tokens=0 must be a whole number from 1"]),
    ({"max_input_tokens": 1.5}, ["max_input_tokens=1.5 must be"]),
    ({"max_input_tokens": True}, ["max_input_tokens=True must be"]),
    ({"max_input_tokens": {"a": 0}}, ["max_input_tokens['a']=0 must be"]),
    ({"max_input_tokens": {"a": "x"}}, ["max_input_tokens['a']='x' must be"]),
    ({"max_input_tokens": {"a": None}}, ["max_input_tokens['a']=None must be"]),
    ({"proposal_filter": "x"}, ["proposal_filter='x' is no filter", "give 'cluster', or a func"]),
    ({"proposal_filter": 3}, ["proposal_filter=3 is no filter"]),
    ({"proposal_filter": [0]}, ["proposal_filter=<list> is no filter"]),
    ({"proposal_filter": _later}, ["proposal_filter=<function> is no filter"]),
    ({"fallbacks": {"zzz": C}}, ["fallbacks['zzz'] is no reference model", "give one of: a, b"]),
    ({"fallbacks": {"judge": C}}, ["fallbacks['judge'] is no reference model"]),
    ({"fallbacks": {"a": 7}}, ["fallbacks['a']", "=7 is neither a chat model"]),
    ({"fallbacks": {"a": [C, None]}}, ["fallbacks['a'][1]=None is neither a chat model"]),
    ({"fallbacks": [C]}, ["fallbacks=<list> is no dict", "{'model name': fallback, ...}"]),
    ({"fallbacks": None}, ["fallbacks=None is no dict"]),
]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("options", "told"), WRONG)
def test_a_wrong_setting_is_an_error(make: Any, options: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(MoAConfigurationError) as caught:
        make(reference_models=[A, B], aggregator=JUDGE, **options)
    for part in told:
        assert part in str(caught.value)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("aggregator", "told"),
    [
        ([], ["aggregator=[] is empty", "give one model, or a list to be tried in order"]),
        ([JUDGE, 3], ["aggregator[1]=3 is neither"]),
        ([JUDGE, None], ["aggregator[1]=None is neither"]),
        ([JUDGE, [C]], ["aggregator[1]=<list> is neither"]),
    ],
)
def test_a_wrong_list_of_aggregators_is_an_error(
    make: Any, aggregator: Any, told: list[str]
) -> None:
    with pytest.raises(MoAConfigurationError) as caught:
        make(reference_models=[A, B], aggregator=aggregator)
    for part in told:
        assert part in str(caught.value)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("field", ["member_concurrency", "max_input_tokens"])
def test_a_limit_for_a_model_that_is_not_there_is_an_error(make: Any, field: str) -> None:
    """As it is of `fallbacks`: a misspelt name would silently be no limit."""
    with pytest.raises(MoAConfigurationError, match=f"{field}.*'aa'"):
        make(reference_models=[A, B], aggregator=JUDGE, **{field: {"aa": 5}})


@pytest.mark.parametrize("make", MAKERS)
def test_an_empty_list_of_fallbacks_is_an_error_like_one_of_aggregators(make: Any) -> None:
    with pytest.raises(MoAConfigurationError, match=r"fallbacks\['a'\]=\[\] is empty"):
        make(reference_models=[A, B], aggregator=JUDGE, fallbacks={"a": []})


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    "options",
    [
        {"quorum": 1},
        {"quorum": 2, "min_proposals": 2},
        {"quorum": 1.0, "min_proposals": 2},
        {"quorum": 0.01},
        {"quorum": None, "grace": 0},
        dict.fromkeys(TIMES),
        dict.fromkeys(TIMES, 1),
        dict.fromkeys(TIMES, "1.5"),
        {"sequential": True, "max_concurrency": 1},
        {"sequential": False, "max_concurrency": 7},
        {"member_concurrency": {"a": 1, "judge": 2}},
        {"member_concurrency": {}},
        {"circuit_breaker": CircuitBreaker()},
        {"max_calls": 1, "max_total_tokens": 1},
        {"max_cost": 0.01, "prices": lambda *_: 1},
        {"max_input_tokens": {"a": 1}},
        {"proposal_filter": "cluster"},
        {"proposal_filter": lambda texts: range(len(texts))},
        {"fallbacks": {"a": [B, C], "b": C}},
        {"max_retries": 0},
    ],
)
def test_settings_that_are_possible(make: Any, options: dict[str, Any]) -> None:
    made = make(reference_models=[A, B], aggregator=[JUDGE, C], **options)
    assert made.invoke if make is MoAChatModel else made.nodes


def built(reference_models: Any, **settings: Any) -> Mixture:
    return build_mixture(
        MixtureSettings(reference_models=reference_models, aggregator=JUDGE, **settings)
    )


def test_the_smallest_layer_bounds_the_quorum() -> None:
    with pytest.raises(MoAConfigurationError, match="quorum=2 must be a count from 1 to 1"):
        built([[A, B], [C]], quorum=2)
    assert built([[A, B], [C]], quorum=1).settings.quorum == 1


def test_times_have_an_end_by_default() -> None:
    policy = built([A]).policy
    limits = (policy.proposer_timeout, policy.aggregator_timeout, policy.timeout)
    assert limits == (120.0, 300.0, 600.0)
    assert (policy.layer_timeout, policy.hedge_after) == (NEVER, NEVER)


def test_none_is_no_limit() -> None:
    unlimited: Any = dict.fromkeys(TIMES)
    policy = built([A], **unlimited).policy
    assert {getattr(policy, name) for name in TIMES} == {NEVER}


def test_sequential_is_one_at_a_time() -> None:
    assert built([A, B], sequential=True).policy.max_concurrency == 1
    assert built([A, B], sequential=False).policy.max_concurrency is None


def test_an_assigned_field_is_checked_at_the_next_call() -> None:
    llm = MoAChatModel(reference_models=[A, B], aggregator=JUDGE)
    llm.quorum = 9
    with pytest.raises(MoAConfigurationError, match="quorum=9"):
        llm.invoke("Go")


def test_a_candidate_that_cannot_take_the_arguments_is_found_at_construction() -> None:
    plain: Any = RunnableLambda(lambda _: "x", name="plain")
    wrong: list[dict[str, Any]] = [
        {"aggregator": [JUDGE, plain], "temperature": 0.0},
        {"fallbacks": {"a": plain}, "proposal_temperature": 0.0},
    ]
    for options in wrong:
        with pytest.raises(MoAConfigurationError, match="temperature: 'plain'"):
            MoAChatModel(**{"reference_models": [A], "aggregator": JUDGE, **options})
