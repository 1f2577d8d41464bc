"""What the options mean, seen at the server: those of the reference demo mean the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.commands import MIXTURE, MODELS, Crowd, asked, asked_models
from tests.conftest import Cli
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, says

pytestmark = pytest.mark.usefixtures("fresh")


def test_temperature_and_max_tokens_are_every_members(cli: Cli, server: LoopbackServer) -> None:
    words = ("--temperature", "0.7", "--max-tokens", "512", "--rounds", "2")
    assert cli("ask", "Hi", *MIXTURE, *words).code == 0
    assert asked(server, "temperature") == [0.7] * 5
    assert asked(server, "max_tokens") == [512] * 5


def test_a_temperature_of_zero_is_one(cli: Cli, server: LoopbackServer) -> None:
    cli("ask", "Hi", *MIXTURE, "--temperature", "0")
    assert asked(server, "temperature") == [0.0] * 3


def test_what_is_not_given_is_the_default_presets(cli: Cli, server: LoopbackServer) -> None:
    cli("ask", "Hi", *MIXTURE)
    assert asked(server, "temperature") == [0.7, 0.7, None]
    assert asked(server, "max_tokens") == [None] * 3


@pytest.mark.parametrize(
    ("words", "passes"),
    [((), 1), (("--rounds", "1"), 1), (("--rounds", "3"), 3), (("--layers", "3"), 2)],
)
def test_rounds_are_layers_less_one(
    words: tuple[str, ...], passes: int, cli: Cli, server: LoopbackServer
) -> None:
    assert cli("ask", "Hi", *MIXTURE, *words).code == 0
    names = asked_models(server)
    assert (names.count(ALPHA), names.count(AGGREGATOR)) == (passes, 1)


@pytest.mark.parametrize(
    "words",
    [
        ("--reference-models", f"{ALPHA}, {BETA},{GAMMA}"),
        ("--reference-models", ALPHA, "--reference-models", f"{BETA},{GAMMA}"),
    ],
)
@pytest.mark.parametrize("aggregator", ["--aggregator", "--model"])
def test_who_proposes_and_who_answers(
    words: tuple[str, ...], aggregator: str, cli: Cli, server: LoopbackServer
) -> None:
    assert cli("ask", "Hi", *words, aggregator, AGGREGATOR).code == 0
    assert sorted(asked_models(server)) == sorted([ALPHA, BETA, GAMMA, AGGREGATOR])
    assert asked_models(server)[-1] == AGGREGATOR


@pytest.mark.parametrize(
    ("words", "most"), [((), 6), (("--num-proc", "2"), 2), (("--sequential",), 1)]
)
def test_so_many_calls_at_once(
    words: tuple[str, ...], most: int, cli: Cli, server: LoopbackServer
) -> None:
    crowd = Crowd(most)
    server.models[ALPHA] = ModelBehavior(reply=crowd)
    six = ("--reference-models", ",".join([ALPHA] * 6), "--aggregator", AGGREGATOR)
    assert cli("ask", "Hi", *six, *words).code == 0
    assert len(server.requests) == 7
    assert crowd.most == most


@pytest.mark.parametrize("quorum", ["1", "0.5"])
def test_a_quorum_does_not_wait(quorum: str, cli: Cli, server: LoopbackServer) -> None:
    server.models[BETA] = ModelBehavior(hang=True)
    ran = cli("ask", "Hi", *MIXTURE, "--quorum", quorum)
    assert (ran.code, ran.out) == (0, "The **answer**.\n")
    assert ran.err.startswith(f"layer 1, {BETA}: cut")


def test_a_call_ends_at_its_timeout(cli: Cli, server: LoopbackServer) -> None:
    server.models[AGGREGATOR] = ModelBehavior(hang=True)
    ran = cli("ask", "Hi", *MIXTURE, "--timeout", "0.4")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith("error: ")


def test_any_setting_that_can_be_typed_is_an_option(cli: Cli) -> None:
    """Those that `--help` leaves out, too; what is made of them is what a file would make."""
    words = ("--hedge-after", "3", "--on-budget", "raise", "--stream-requests", "--max-calls", "9")
    told = json.loads(cli("config", *MIXTURE, *words, "--format", "json").out)
    named = {name: told[name] for name in ("hedge_after", "on_budget", "stream_requests")}
    assert named == {"hedge_after": 3.0, "on_budget": "raise", "stream_requests": True}
    assert told["max_calls"] == 9


@pytest.mark.parametrize("switch", [True, False])
def test_a_switch_of_a_file_can_be_turned(*, switch: bool, cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "moa.json"
    settings = {"reference_models": [ALPHA], "aggregator": BETA, "sequential": not switch}
    path.write_text(json.dumps(settings))
    words = ("--config", str(path), "--sequential" if switch else "--no-sequential")
    told = json.loads(cli("config", *words, "--format", "json", "--all").out)
    assert told["sequential"] is switch


def test_options_go_over_those_of_a_file(cli: Cli, server: LoopbackServer, tmp_path: Path) -> None:
    path = tmp_path / "moa.json"
    settings = {"reference_models": [ALPHA, BETA], "aggregator": GAMMA, "temperature": 1.0}
    path.write_text(json.dumps(settings))
    assert cli("ask", "Hi", "--config", str(path), "--aggregator", AGGREGATOR).code == 0
    assert sorted(asked_models(server)) == sorted([ALPHA, BETA, AGGREGATOR])
    assert server.requests_for(AGGREGATOR)[0].body["temperature"] == 1.0


def test_a_file_may_name_the_endpoint(cli: Cli, tmp_path: Path) -> None:
    """Then no key is needed, as with --base-url, for mixtures inside neither."""
    cli.environment.delenv("TOGETHER_API_KEY")
    cli.environment.delenv("TOGETHER_API_BASE")
    with LoopbackServer(MODELS, api_key="no-key") as own:
        inner = {"reference_models": [ALPHA], "aggregator": BETA, "base_url": own.base_url}
        path = tmp_path / "moa.json"
        path.write_text(json.dumps({**inner, "reference_models": [inner, GAMMA]}))
        assert cli("ask", "Hi", "--config", str(path)).code == 0
        assert len(own.requests) == 4


FOREIGN = "https://models.example.com/v1"


@pytest.mark.parametrize("command", [("ask", "Hi"), ("models",)])
def test_a_file_gets_no_key_to_a_host_that_its_user_has_not_named(
    cli: Cli, tmp_path: Path, command: tuple[str, ...]
) -> None:
    path = tmp_path / "moa.json"
    for settings in (
        {"reference_models": [ALPHA], "aggregator": BETA, "base_url": FOREIGN},
        {"reference_models": [{"model": ALPHA, "base_url": FOREIGN}], "aggregator": BETA},
    ):
        path.write_text(json.dumps(settings))
        ran = cli(*command, "--config", str(path))
        assert (ran.code, ran.out) == (2, "")
        assert f"base_url={FOREIGN!r} stands in the configuration" in ran.err
        assert "--trust-host models.example.com" in ran.err


def test_a_host_that_is_trusted_gets_the_key(
    cli: Cli, server: LoopbackServer, tmp_path: Path
) -> None:
    path = tmp_path / "moa.json"
    away = {"model": ALPHA, "base_url": server.base_url.replace("127.0.0.1", "loopback.test")}
    path.write_text(json.dumps({"reference_models": [BETA], "aggregator": [BETA, away]}))
    words = ("ask", "Hi", "--config", str(path))
    assert cli(*words).code == 2
    assert cli(*words, "--trust-host", "other.test").code == 2
    assert cli(*words, "--trust-host", "other.test,LOOPBACK.test").code == 0


def test_a_file_can_be_looked_at_before_its_hosts_are_trusted(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "moa.json"
    settings = {"reference_models": [ALPHA], "aggregator": BETA, "base_url": FOREIGN}
    inside = {**settings, "base_url": "https://inner.example.com/v1"}
    path.write_text(json.dumps({**settings, "aggregator": inside}))
    for command in ("config", "graph"):
        ran = cli(command, "--config", str(path))
        assert ran.code == 0, ran.err
    assert FOREIGN in cli("config", "--config", str(path)).out


def test_a_preset_by_its_name(
    cli: Cli, server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    papers = {
        "Qwen/Qwen1.5-110B-Chat",
        "Qwen/Qwen1.5-72B-Chat",
        "meta-llama/Llama-3-70b-chat-hf",
    }
    server.models.update({name: says("Draft.") for name in papers})
    Path("moa-lite").write_text("A file of the same name.", encoding="utf-8")
    ran = cli("ask", "Hi", "--preset", "moa-lite")
    assert (ran.code, ran.out) == (0, "Draft.\n")
    assert ran.err.count("does not exist") == 3  # of the six that are retired
    assert asked_models(server)[-1] == "Qwen/Qwen1.5-72B-Chat"
    assert asked(server, "temperature") == [0.7] * 7


@pytest.mark.parametrize(
    "words",
    [
        ("--rounds", "1", "--layers", "2"),
        ("--preset", "moa", "--config", "x.toml"),
        ("--demo", "--preset", "moa"),
        ("--demo", "--config", "x.toml"),
        ("--demo", "--base-url", "http://127.0.0.1:9"),
    ],
)
@pytest.mark.parametrize("command", ["ask", "chat", "models", "graph", "config"])
def test_contradictions_are_refused(words: tuple[str, ...], command: str, cli: Cli) -> None:
    ran = cli(command, *words, stdin="Hi")
    assert (ran.code, ran.out) == (2, "")
    options = [word for word in words if word.startswith("--")]
    assert ran.err == (
        f"error: {options[0]} and {options[1]} contradict each other; give one of them. "
        f"(See langchain-moa {command} --help.)\n"
    )


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--temperature", "-1"), "--temperature"),
        (("--temperature", "nan"), "temperature"),
        (("--max-tokens", "0"), "--max-tokens"),
        (("--rounds", "0"), "--rounds"),
        (("--layers", "1"), "layers=1 must be a whole number from 2"),
        (("--num-proc", "many"), "--num-proc"),
        (("--quorum", "0"), "quorum=0"),
        (("--quorum", "9"), "quorum=9"),
        (("--quorum", "inf"), "quorum"),
        (("--quorum", "nan"), "quorum"),
        (("--timeout", "0"), "timeout=0"),
        (("--timeout", "inf"), "timeout"),
        (("--preset", "nope"), "--preset"),
        (("--config", "none.toml"), "none.toml: No such file"),
        (("--hedge-after", "-1"), "hedge_after=-1"),
        (("--max-retries", "1.5"), "max_retries=1.5"),
        (("--on-budget", "shrug"), "'degrade', 'raise'"),
        (("--aggregator", " "), "aggregator"),
        (("--sequential", "--num-proc", "2"), "sequential"),
        (("--temprature", "1"), "--temperature"),
    ],
)
def test_wrong_values_are_one_line_that_names_them(
    words: tuple[str, ...], named: str, cli: Cli, server: LoopbackServer
) -> None:
    ran = cli("ask", "Hi", *words)
    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    assert line.startswith("error: ")
    assert named in line
    assert not server.requests


@pytest.mark.parametrize("given", ["", " , "])
def test_names_that_are_not_there_are_not_the_defaults(
    given: str, cli: Cli, server: LoopbackServer
) -> None:
    ran = cli("ask", "Hi", "--reference-models", given, "--aggregator", AGGREGATOR)
    assert (ran.code, ran.out) == (2, "")
    assert "'--reference-models': it names nothing" in ran.err
    assert not server.requests
