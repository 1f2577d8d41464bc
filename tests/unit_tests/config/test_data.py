"""Mixtures as plain data: written and read again they are the same, and they hold no key."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_anthropic import ChatAnthropic
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_openai import AzureChatOpenAI, ChatOpenAI
from langchain_together import ChatTogether
from pydantic import SecretStr

from langchain_moa import CircuitBreaker, MoAChatModel, MoAConfigurationError
from langchain_moa.testing import ScriptedChatModel

ALPHA, BETA, TUNED = "acme/alpha", "acme/beta", "me/tuned:v2"
AGGREGATOR = "acme/aggregator"
BARE = {"reference_models": [ALPHA, BETA], "aggregator": AGGREGATOR}
SUFFIXES = (".toml", ".yaml", ".yml", ".json")
KEY = "sk-very-secret"
TABLE = {"model": ALPHA, "temperature": 0.25}


def made(config: Any, **overrides: Any) -> MoAChatModel:
    return MoAChatModel.from_config(config, **{"api_key": KEY, **overrides})


def identity(llm: MoAChatModel) -> Any:
    return llm._identifying_params["fingerprint"]


def refused(config: Any, **overrides: Any) -> str:
    with pytest.raises(MoAConfigurationError) as caught:
        made(config, **overrides)
    return str(caught.value)


def unwritten(**fields: Any) -> str:
    llm = MoAChatModel(**{**BARE, "api_key": KEY, **fields})
    with pytest.raises(MoAConfigurationError) as caught:
        llm.to_config()
    return str(caught.value)


# --- round trips -----------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBER = st.floats(0.001, 2.0)
COUNT = st.integers(1, 10**12)
SECONDS = st.floats(0.001, 1e7)
PLAIN = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
MEMBER: st.SearchStrategy[Any] = st.sampled_from([ALPHA, BETA, TUNED]) | st.fixed_dictionaries(
    {"model": st.sampled_from([ALPHA, BETA])},
    optional={"temperature": NUMBER, "max_tokens": COUNT, "top_p": st.floats(0.1, 0.9)},
)
MEMBERS = st.lists(MEMBER, min_size=1, max_size=3)
OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "placement": st.sampled_from(["user", "system"]),
    "aggregator_prompt": TEXT.map(
        lambda text: text.replace("{", "{{").replace("}", "}}") + "{proposals}"
    ),
    "include_proposals": st.booleans(),
    "temperature": NUMBER,
    "max_tokens": COUNT,
    "stop": st.lists(TEXT, max_size=3),
    "proposal_temperature": NUMBER,
    "proposal_kwargs": st.dictionaries(
        st.sampled_from(["metadata", "service_tier", "user"]), PLAIN
    ),
    "proposer_timeout": SECONDS | st.none(),
    "aggregator_timeout": SECONDS | st.none(),
    "layer_timeout": SECONDS | st.none(),
    "timeout": SECONDS | st.none(),
    "quorum": st.just(1) | st.floats(0.01, 1.0) | st.none(),
    "grace": st.floats(0, 10),
    "hedge_after": SECONDS | st.none(),
    "max_retries": st.integers(0, 5),
    "on_no_proposals": st.sampled_from(["raise", "aggregate_alone"]),
    "circuit_breaker": st.none()
    | st.fixed_dictionaries({"failures": st.integers(1, 9), "reset_after": st.floats(1, 99)}),
    "max_concurrency": COUNT | st.none(),
    "prices": st.none()
    | st.dictionaries(TEXT.filter(bool), st.lists(NUMBER, min_size=2, max_size=2), max_size=3),
    "max_calls": COUNT | st.none(),
    "fan_out": st.sampled_from(["user_turns", "always", "never", "every_3"]),
    "name": TEXT | st.none(),
    "tags": st.none() | st.lists(TEXT, max_size=3),
    "metadata": st.none() | st.dictionaries(TEXT, PLAIN, min_size=1, max_size=3),
}
CONFIG = st.fixed_dictionaries(
    {"reference_models": MEMBERS | st.lists(MEMBERS, min_size=1, max_size=2), "aggregator": MEMBER},
    optional=OPTIONS,
)


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(config=CONFIG)
def test_what_is_read_is_what_was_written(
    config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    llm = made(config)
    written = llm.to_config()
    assert written == _without_defaults(config)
    folder = tmp_path_factory.mktemp("config")
    for suffix in SUFFIXES:
        llm.to_config(folder / f"moa{suffix}")
        again = made(folder / f"moa{suffix}")
        assert again.to_config() == written
        assert identity(again) == identity(llm)


def _without_defaults(config: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = MoAChatModel.model_fields
    defaults = {n: field.get_default(call_default_factory=True) for n, field in fields.items()}
    kept = {k: v for k, v in config.items() if k in BARE or v != defaults[k]}
    return {k: _bare(v) if k in BARE else v for k, v in kept.items()}


def _bare(value: Any) -> Any:
    """A table without options is written as a string."""
    if isinstance(value, list):
        return [_bare(item) for item in value]
    return value["model"] if isinstance(value, dict) and len(value) == 1 else value


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_of_setting(suffix: str, tmp_path: Path) -> None:
    config = {
        "reference_models": [[ALPHA, {**TABLE, "max_tokens": 64}], [BETA]],
        "aggregator": [AGGREGATOR, BETA],
        "fallbacks": {ALPHA: [BETA], BETA: {"model": AGGREGATOR, "temperature": 0.5}},
        "circuit_breaker": {"failures": 3, "reset_after": 9.5},
        "prices": {ALPHA: [0.1, 0.2]},
        "member_concurrency": {ALPHA: 2},
        "profiles": {ALPHA: {"max_input_tokens": 4096, "image_inputs": False}},
        "proposer_timeout": None,
        "timeout": None,
        "stop": ["\n\n", "END"],
        "metadata": {"team": "ops"},
    }
    llm = made(config)
    assert llm.to_config(tmp_path / f"moa{suffix}") == config
    again = made(tmp_path / f"moa{suffix}")
    assert again.to_config() == config
    assert (again.timeout, again.proposer_timeout) == (None, None)
    assert again.circuit_breaker == CircuitBreaker(failures=3, reset_after=9.5)
    assert identity(again) == identity(llm)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_mixture_inside_a_mixture(suffix: str, tmp_path: Path) -> None:
    inner = made({**BARE, "layers": 3, "timeout": None, "temperature": 0.5})
    llm = MoAChatModel(reference_models=[inner, ALPHA], aggregator=inner, api_key=KEY)
    config = llm.to_config(tmp_path / f"moa{suffix}")
    assert config["aggregator"] == {**BARE, "layers": 3, "timeout": None, "temperature": 0.5}
    again = made(tmp_path / f"moa{suffix}")
    assert again.to_config() == config
    assert isinstance(again.aggregator, MoAChatModel)
    assert (again.aggregator.num_layers, again.aggregator.timeout) == (3, None)
    assert identity(again) == identity(llm)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_texts_of_any_kind(suffix: str, tmp_path: Path) -> None:
    texts = [
        "a\x85b",
        "\u2028",
        "\u2029 x",
        "a\r\nb\tc",
        "null",
        "1e3",
        "天 🌌",
        "\ufeff",
        "'\"",
        "",
    ]
    made({**BARE, "stop": texts}).to_config(tmp_path / f"moa{suffix}")
    assert made(tmp_path / f"moa{suffix}").stop == texts
    assert "天 🌌" in (tmp_path / f"moa{suffix}").read_text("utf-8")


def test_the_order_of_keys_is_nothing(tmp_path: Path) -> None:
    """TOML has tables behind all else."""
    llm = made({**BARE, "proposal_kwargs": {"user": {"a": {"x": 1}, "b": 1}}})
    llm.to_config(tmp_path / "moa.toml")
    assert identity(made(tmp_path / "moa.toml")) == identity(llm)


def test_self_moa_is_a_list_of_the_same() -> None:
    llm = MoAChatModel.self_moa(ALPHA, samples=3, temperature=0.7, api_key=KEY)
    config = llm.to_config()
    assert config == {"reference_models": [ALPHA] * 3, "aggregator": ALPHA, "temperature": 0.7}
    assert identity(made(config)) == identity(llm)


def test_no_limit_is_infinity_in_toml(tmp_path: Path) -> None:
    path = tmp_path / "moa.toml"
    made({**BARE, "timeout": None}).to_config(path)
    assert "timeout = inf" in path.read_text()
    path.write_text(f'reference_models = ["{ALPHA}"]\naggregator = "{BETA}"\nlayer_timeout = inf\n')
    assert made(path).layer_timeout is None


def test_a_prompt_template_is_written_as_its_text() -> None:
    template = PromptTemplate.from_template("Drafts: {proposals}")
    config = made({**BARE}, aggregator_prompt=template).to_config()
    assert config["aggregator_prompt"] == "Drafts: {proposals}"


# --- chat models ------------------------------------------------------------------------------


def chat_models() -> dict[str, Callable[[], Any]]:
    key = SecretStr(KEY)
    return {
        "together": lambda: ChatTogether(
            model=ALPHA, api_key=key, temperature=0.3, max_tokens=64, seed=7, stream_usage=True
        ),
        "together-elsewhere": lambda: ChatTogether(
            model="plain", api_key=key, base_url="http://127.0.0.1:9/v1", stream_usage=True
        ),
        "openai": lambda: ChatOpenAI(
            model="gpt-x",
            api_key=key,
            temperature=0.5,
            max_completion_tokens=99,
            timeout=7,
            max_retries=1,
        ),
        "anthropic": lambda: ChatAnthropic(
            model_name="claude-x",
            api_key=key,
            temperature=0.1,
            max_tokens_to_sample=123,
            timeout=9,
            stop=["END"],
        ),
    }


@pytest.mark.parametrize("kind", chat_models())
@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_chat_models_are_written_as_tables_and_made_again(
    kind: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    model = chat_models()[kind]()
    llm = MoAChatModel(reference_models=[model], aggregator=AGGREGATOR, api_key=KEY)
    path = tmp_path / f"moa{suffix}"
    (table,) = llm.to_config(path)["reference_models"]
    assert table["model"].endswith(getattr(model, "model_name", None) or model.model)
    again = made(path)
    (member,) = again.reference_models
    assert type(member) is type(model)
    assert {n: _plain(member, n) for n in table} == {n: _plain(model, n) for n in table}
    assert again.to_config() == llm.to_config()
    assert KEY not in path.read_text()


def _plain(model: Any, option: str) -> Any:
    """A model's field by the name or the alias that a table has."""
    fields = type(model).model_fields
    names = [name for name, field in fields.items() if option in (name, field.alias)]
    return getattr(model, names[0])


def test_a_string_with_a_provider_stays_a_string(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    config = {"reference_models": ["openai:gpt-x"], "aggregator": AGGREGATOR}
    assert made(config).to_config() == config


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reference_models[1]", ScriptedChatModel.saying("x")),
        ("reference_models[1]", RunnableLambda(len)),
        (
            "reference_models[1]",
            AzureChatOpenAI(
                azure_endpoint="https://x", api_version="1", api_key=SecretStr(KEY), model="m"
            ),
        ),
    ],
    ids=["scripted", "lambda", "azure"],
)
def test_members_that_no_string_makes_are_refused(field: str, value: Any) -> None:
    message = unwritten(reference_models=[ALPHA, value])
    assert field in message
    assert KEY not in message


def test_the_place_inside_an_inner_mixture_is_told() -> None:
    inner = MoAChatModel(
        reference_models=[ScriptedChatModel.saying("x")], aggregator=AGGREGATOR, api_key=KEY
    )
    assert unwritten(aggregator=inner).startswith("aggregator: reference_models[0]=")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prices", max),
        ("proposal_filter", len),
        ("context_filter", max),
        ("fan_out", bool),
        ("proposal_kwargs.user", object()),
        ("proposal_kwargs.metadata.share", math.inf),
        (
            "aggregator_prompt",
            PromptTemplate.from_template("{who}: {proposals}").partial(who="I"),
        ),
    ],
)
def test_what_files_cannot_hold_is_refused_by_its_name(field: str, value: Any) -> None:
    name, *inner = field.split(".")
    for key in reversed(inner):
        value = {key: value}
    message = unwritten(**{name: value})
    assert message.startswith((f"{field}=<", f"{field}=inf"))
    assert "can't be written" in message


def test_listeners_are_left_out() -> None:
    llm = made(BARE, on_progress=print, callbacks=[])
    assert llm.to_config() == BARE


# --- reading ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({**BARE, "temprature": 1}, ["temprature", "temperature"]),
        ({**BARE, "circuit_breaker": {"failure": 1}}, ["circuit_breaker.failure", "failures"]),
        ({**BARE, "aggregator": {"model": ALPHA, "temprature": 1}}, ["aggregator.temprature"]),
        (
            {**BARE, "reference_models": [ALPHA, {"model": ALPHA, "topp": 1}]},
            ["reference_models[1].topp", "top_p"],
        ),
        (
            {**BARE, "reference_models": [ALPHA, {**BARE, "layer": 2}]},
            ["reference_models[1]: layer ", "layers"],
        ),
        (
            {**BARE, "fallbacks": {ALPHA: {"model": BETA, "temprature": 1}}},
            ["fallbacks['acme/alpha'].temprature"],
        ),
        ({**BARE, "fallbacks": {"acme/nobody": BETA}}, ["fallbacks['acme/nobody']"]),
        ({**BARE, "aggregator": {"temperature": 1}}, ["aggregator", "holds no model"]),
    ],
)
def test_unknown_keys_are_named(config: dict[str, Any], names: list[str], tmp_path: Path) -> None:
    message = refused(config)
    assert all(name in message for name in names), message
    path = tmp_path / "moa.json"
    path.write_text(json.dumps(config))
    assert refused(path) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("x.toml", 'aggregator = "a"\nlayers = \n', "line 2"),
        ("x.yaml", "aggregator: a\nlayers: [\n", "line 3"),
        ("x.yaml", "aggregator: a\n\tlayers: 2\n", "line 2"),
        ("x.json", '{"aggregator": "a",\n "layers": }', "line 2"),
    ],
)
def test_parse_errors_name_the_line(name: str, text: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    message = refused(path)
    assert message.startswith(f"{path}: ")
    assert line in message
    assert "\n" not in message
    assert "unicode string" not in message


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.toml", "layers = 2\nlayers = 3\n"),
        ("x.yaml", "layers: 2\nlayers: 3\n"),
        ("x.yaml", "profiles:\n  layers: {a: 1, a: 2}\n"),
        ("x.json", '{"layers": 2, "layers": 3}'),
    ],
)
def test_repeated_keys_are_refused(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert re.search(r"twice|overwrite", refused(path))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.ini", b"layers=2", "unknown format '.ini'; give one of .toml"),
        ("x", b"layers=2", "unknown format ''"),
        ("x.json", b"[1]", "holds no settings"),
        ("x.yaml", b"", "holds no settings"),
        ("x.yaml", b"1: 2\n", "holds no settings"),
        ("x.yaml", b"[a]: 2\n", "can't be a key (at line 1"),
        ("x.yaml", b"a: !!python/object:os.system {}\n", "could not determine a constructor"),
        ("x.json", b"[" * 100_000, "nested too deeply"),
        ("x.toml", b"name = '\xff'", "UTF-8"),
    ],
)
def test_files_that_hold_no_settings(
    name: str, content: bytes, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    message = refused(path)
    assert str(path) in message
    assert reason in message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "none.toml")
    (tmp_path / "folder.toml").mkdir()
    assert "Is a directory" in refused(tmp_path / "folder.toml")


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    llm = made(BARE)
    for path, reason in (
        (tmp_path / "no" / "moa.toml", "No such file"),
        (tmp_path / "moa.ini", "unknown format '.ini'"),
    ):
        with pytest.raises(MoAConfigurationError, match=reason):
            llm.to_config(path)
    with pytest.raises(MoAConfigurationError, match="surrogates"):
        made(BARE, stop=["\ud800"]).to_config(tmp_path / "moa.json")


def test_a_byte_order_mark_is_no_part_of_the_settings(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        path = tmp_path / f"moa{suffix}"
        made(BARE).to_config(path)
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        assert made(path).to_config() == BARE


def test_overrides_replace_and_add() -> None:
    llm = made({**BARE, "layers": 3, "temperature": 1.0}, layers=2, max_tokens=5)
    assert llm.to_config() == {**BARE, "layers": 2, "temperature": 1.0, "max_tokens": 5}


def test_the_endpoint_counts_for_mixtures_inside() -> None:
    elsewhere = {**BARE, "base_url": "http://127.0.0.1:2/v1"}
    config = {"reference_models": [BARE, elsewhere], "aggregator": AGGREGATOR}
    llm = made(config, base_url="http://127.0.0.1:1/v1")
    inner, other = llm.reference_models
    assert isinstance(inner, MoAChatModel)
    assert isinstance(other, MoAChatModel)
    assert (inner.base_url, other.base_url) == ("http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1")


# --- secrets ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({**BARE, "api_key": KEY}, "api_key"),
        ({**BARE, "aggregator": {"model": ALPHA, "api_key": KEY}}, "aggregator.api_key"),
        (
            {**BARE, "reference_models": [{"model": ALPHA, "together_api_key": KEY}]},
            "reference_models[0].together_api_key",
        ),
        (
            {**BARE, "fallbacks": {ALPHA: {"model": BETA, "api_key": KEY}}},
            "fallbacks['acme/alpha'].api_key",
        ),
        ({**BARE, "aggregator": {**BARE, "api_key": KEY}}, "aggregator: api_key"),
        ({**BARE, "base_url": f"https://me:{KEY}@host/v1"}, "base_url"),
        (
            {**BARE, "aggregator": {"model": ALPHA, "base_url": f"http://{KEY}@host"}},
            "aggregator.base_url",
        ),
        (
            {**BARE, "aggregator": {"model": ALPHA, "default_headers": {"Authorization": KEY}}},
            "aggregator.default_headers.Authorization",
        ),
        (
            {**BARE, "proposal_kwargs": {"extra_headers": {"X-Api-Key": KEY}}},
            "proposal_kwargs.extra_headers.X-Api-Key",
        ),
    ],
)
def test_secrets_are_refused_when_read(config: dict[str, Any], field: str) -> None:
    message = refused(config)
    assert field in message
    assert "does not belong into a configuration" in message
    assert KEY not in message


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"base_url": f"https://me:{KEY}@host/v1"}, "base_url"),
        (
            {"proposal_kwargs": {"extra_headers": {"X-Team": KEY}}},
            "proposal_kwargs.extra_headers",
        ),
        ({"metadata": {"password": KEY}}, "metadata.password"),
        (
            {"aggregator": {"model": ALPHA, "default_headers": {"X-Team": KEY}}},
            "aggregator.default_headers",
        ),
        ({"aggregator": {"model": ALPHA, "base_url": f"http://{KEY}@h/v1"}}, "aggregator.base_url"),
    ],
)
def test_secrets_are_never_written(fields: dict[str, Any], field: str) -> None:
    message = unwritten(**fields)
    assert field in message
    assert KEY not in message


def test_keys_are_left_out(tmp_path: Path) -> None:
    member = ChatTogether(model=BETA, api_key=SecretStr(KEY), temperature=0.5)
    llm = MoAChatModel(
        reference_models=[ALPHA, {"model": ALPHA, "api_key": KEY, "temperature": 0.1}, member],
        aggregator=MoAChatModel(**BARE, api_key=KEY),  # type: ignore[arg-type]
        api_key=KEY,
    )
    for suffix in SUFFIXES:
        path = tmp_path / f"moa{suffix}"
        llm.to_config(path)
        assert KEY not in path.read_text()
        assert made(path).to_config() == llm.to_config()
