"""`langchain-moa models`, `graph`, `presets` and `config`, and what every command shares."""

from __future__ import annotations

import asyncio
import json
import sys
import tomllib
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from langchain_moa import MoAChatModel, MoAError
from langchain_moa.cli.banner import NO_KEY_MESSAGE
from langchain_moa.cli.models import served_models
from langchain_moa.presets import get_preset, preset_names
from langchain_moa.providers.accounts import endpoint_of
from langchain_moa.testing import LoopbackServer
from langchain_moa.testing.serving import ServerThread
from tests.commands import KEY, MIXTURE, MODELS
from tests.conftest import Cli
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA


@contextmanager
def lists(body: Any) -> Iterator[str]:
    """The address of an endpoint that answers with a text, with pieces, or not for a while.

    A function gives the text, and is told what came: `authorization` and the query.
    """

    async def answer(request: Request) -> Response:
        if callable(body):
            return Response(body(f"{request.headers['authorization']} {request.url.query}"))
        if isinstance(body, str):
            return Response(body)
        if hasattr(body, "__aiter__"):
            return StreamingResponse(body)
        await body
        return Response()

    with ServerThread(Starlette(routes=[Route("/v1/models", answer)])) as server:
        yield f"{server.url}/v1"


# --- models -----------------------------------------------------------------------------------


def test_models_marks_those_of_the_mixture(cli: Cli, server: LoopbackServer) -> None:
    cli.asks(server)
    ran = cli("models", *MIXTURE)
    lines = [f"* {AGGREGATOR}", f"* {ALPHA}", f"* {BETA}", f"  {GAMMA}"]
    assert (ran.code, ran.out.splitlines()) == (0, lines)
    assert ran.err.startswith(f"{server.base_url} serves 4 models")


def test_models_marks_what_is_not_served(cli: Cli, server: LoopbackServer) -> None:
    cli.asks(server)
    ran = cli("models", "--reference-models", f"{ALPHA},acme/gone", "--aggregator", AGGREGATOR)
    assert ran.code == 4
    assert ran.out.splitlines()[-1] == "! acme/gone"
    assert f"* {ALPHA}" in ran.out


def test_models_of_each_endpoint_are_its_own(
    cli: Cli, server: LoopbackServer, tmp_path: Path
) -> None:
    with LoopbackServer({GAMMA: MODELS[GAMMA]}, api_key=KEY) as other:
        path = tmp_path / "moa.json"
        elsewhere = {"model": GAMMA, "base_url": other.base_url}
        path.write_text(json.dumps({"reference_models": [ALPHA, elsewhere], "aggregator": BETA}))
        cli.asks(server)
        ran = cli("models", "--config", str(path))
    assert (ran.code, "!" in ran.out) == (0, False)
    assert ran.err.count(" serves ") == 2


@pytest.mark.parametrize("where", ["me:DISTINCTIVE@", "?api-key=DISTINCTIVE"])
def test_a_login_or_a_key_in_the_address_is_sent_and_not_shown(where: str, cli: Cli) -> None:
    seen: list[str] = []

    def listing(came: str) -> str:
        seen.append(came)
        return json.dumps([{"id": ALPHA}])

    with lists(listing) as address:
        login, query = (where, "") if where.endswith("@") else ("", where)
        given = address.replace("://", f"://{login}") + query
        ran = cli("models", "--reference-models", ALPHA, "--model", ALPHA, "--base-url", given)
        gone = cli("models", "--base-url", given.replace("/v1", "/v2"))
    assert (ran.code, ran.out.splitlines()) == (0, [f"* {ALPHA}"])
    assert ran.err.startswith(f"{address} serves 1 models")
    assert gone.code == 3
    assert "DISTINCTIVE" not in ran.err + ran.out + gone.err + gone.out
    expected = "Basic " + b64encode(b"me:DISTINCTIVE").decode() if login else "api-key=DISTINCTIVE"
    assert expected in seen[0]


def test_models_of_other_providers_are_not_looked_for(cli: Cli, server: LoopbackServer) -> None:
    cli.asks(server)
    cli.environment.setenv("OPENAI_API_KEY", KEY)
    ran = cli("models", "--reference-models", ALPHA, "--aggregator", "openai:gpt-x")
    assert ran.code == 0
    assert "gpt-x is another provider's" in ran.err


@pytest.mark.parametrize(
    ("listing", "shown"),
    [
        ([{"id": ALPHA, "type": "chat"}, {"id": "acme/pictures", "type": "image"}], [f"* {ALPHA}"]),
        ({"data": [{"id": ALPHA}, {"id": "acme/x"}]}, [f"* {ALPHA}", "  acme/x"]),
    ],
)
def test_models_reads_both_forms_of_lists(listing: Any, shown: list[str], cli: Cli) -> None:
    with lists(json.dumps(listing)) as address:
        ran = cli("models", "--reference-models", ALPHA, "--model", ALPHA, "--base-url", address)
    assert (ran.code, ran.out.splitlines()) == (0, shown)


@pytest.mark.parametrize(
    "listing", ['"no list"', "[1]", '{"data": null}', '[{"name": "x"}]', "<html>", "[" * 100_000]
)
def test_models_says_when_it_cannot_read_a_list(listing: str, cli: Cli) -> None:
    with lists(listing) as address:
        ran = cli("models", "--base-url", address)
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == f"error: {address} gives no list of models that can be read.\n"


def test_a_list_of_models_has_a_limit_of_time() -> None:
    """Whether the endpoint is silent, or always about to say more."""

    async def drips() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.05)

    for body in (drips(), asyncio.sleep(3600)):
        with lists(body) as address, pytest.raises(MoAError, match=r"within 0\.5 s\."):
            served_models(endpoint_of(address), KEY, timeout=0.5)


def test_a_list_of_models_has_a_limit_of_size() -> None:
    async def pours() -> AsyncIterator[bytes]:
        for _ in range(1000):  # without an end for who stops reading at a tenth of it
            yield b" " * 1000

    with lists(pours()) as address, pytest.raises(MoAError, match="no list of models that can be"):
        served_models(endpoint_of(address), KEY, longest=100_000)


def test_models_without_an_endpoint(cli: Cli, server: LoopbackServer) -> None:
    ran = cli("models", "--base-url", "http://127.0.0.1:1/v1")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith("error: http://127.0.0.1:1/v1 gives no list of models: ")
    assert ran.err.count("\n") == 1
    wrong_key = cli("models", "--base-url", server.base_url)
    assert wrong_key.err.endswith("gives no list of models: 401 Unauthorized.\n")


def test_models_shows_no_password(cli: Cli, server: LoopbackServer) -> None:
    cli.environment.setenv("TOGETHER_API_KEY", KEY)
    for host in (server.base_url, "http://127.0.0.1:1/v1"):
        address = host.replace("://", f"://me:{KEY}@")
        ran = cli("models", *MIXTURE, "--base-url", address)
        assert KEY not in ran.out + ran.err
        assert host in ran.err


# --- graph ------------------------------------------------------------------------------------


def test_graph_draws_each_layer(cli: Cli) -> None:
    """Without a key: nobody is asked."""
    ran = cli("graph", *MIXTURE, "--rounds", "2")
    assert (ran.code, ran.err) == (0, "")
    lines = [line.strip(" |+-") for line in ran.out.splitlines()]
    told = [line for line in lines if line and line != "v"]
    layers = [f"layer {n}" for n in (1, 2)]
    assert told == [
        "question",
        *(layers[0], ALPHA, BETA),
        *(layers[1], ALPHA, BETA),
        *("aggregator", AGGREGATOR),
        "answer",
    ]


def test_graph_as_mermaid_is_langgraphs_own(cli: Cli) -> None:
    llm = MoAChatModel(reference_models=[ALPHA, BETA], aggregator=AGGREGATOR, layers=3, api_key=KEY)
    ran = cli("graph", *MIXTURE, "--mermaid", "--layers", "3")
    assert ran.out == llm.graph.get_graph(xray=1).draw_mermaid()


def test_graph_as_a_picture(cli: Cli, tmp_path: Path) -> None:
    sizes = []
    for rounds in ("1", "2"):
        path = tmp_path / f"{rounds}.png"
        assert cli("graph", "--preset", "moa", "--png", str(path), "--rounds", rounds).code == 0
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert len(picture.convert("RGB").getcolors(1 << 16) or []) > 3
            sizes.append(picture.size)
    assert sizes[0][0] == sizes[1][0]
    assert sizes[0][1] < sizes[1][1]  # a layer more


def test_graph_tells_where_it_cannot_draw(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "no" / "x.png"
    ran = cli("graph", "--png", str(path))
    assert (ran.code, ran.err) == (2, f"error: {path}: No such file or directory.\n")


# --- presets and config -----------------------------------------------------------------------


def test_presets_lists_all_on_lines_of_80_columns(cli: Cli) -> None:
    ran = cli("presets")
    lines = ran.out.splitlines()
    assert [line.split()[0] for line in lines] == preset_names()
    assert max(map(len, lines)) <= 80
    retired = [name for name in preset_names() if get_preset(name).retired]
    assert [line.split()[0] for line in lines if line.endswith("[retired]")] == retired


@pytest.mark.parametrize("name", preset_names())
def test_presets_shows_one_as_a_file(name: str, cli: Cli) -> None:
    ran = cli("presets", name)
    assert tomllib.loads(ran.out) == get_preset(name).settings
    notes = [line for line in ran.out.splitlines() if line.startswith("#")]
    assert get_preset(name).title in " ".join(line.removeprefix("# ") for line in notes)
    assert max(map(len, notes)) <= 80


def test_presets_refuses_unknown_names(cli: Cli) -> None:
    ran = cli("presets", "nope")
    assert ran.code == 2
    assert ran.err.startswith("error: preset='nope' is unknown; give one of: default, ")


@pytest.mark.parametrize(
    ("form", "loads"), [("toml", tomllib.loads), ("yaml", yaml.safe_load), ("json", json.loads)]
)
@pytest.mark.parametrize("every", [(), ("--all",)])
def test_config_prints_what_is_read_again(
    form: str, loads: Any, every: tuple[str, ...], cli: Cli, tmp_path: Path
) -> None:
    words = (*MIXTURE, "--rounds", "2", "--temperature", "0.5", "--num-proc", "2")
    printed = cli("config", *words, "--format", form, *every)
    path = tmp_path / f"moa.{form}"
    written = cli("config", *words, "--write", str(path), *every)
    assert (printed.code, printed.err) == (0, "")
    assert (written.code, written.out, written.err) == (0, "", f"written to {path}.\n")
    assert path.read_text() == printed.out
    settings = loads(printed.out)
    assert (
        settings.items()
        >= {
            "reference_models": [ALPHA, BETA],
            "aggregator": AGGREGATOR,
            "layers": 3,
            "temperature": 0.5,
            "proposal_temperature": 0.5,
            "max_concurrency": 2,
        }.items()
    )
    assert ("grace" in settings) == bool(every)
    again = cli("config", "--config", str(path), "--format", form, *every)
    assert (again.code, again.out) == (0, printed.out)


def test_config_holds_no_key(cli: Cli, server: LoopbackServer, tmp_path: Path) -> None:
    cli.asks(server)
    path = tmp_path / "moa.toml"
    for words in (["--all"], ["--write", str(path)], ["--base-url", server.base_url]):
        ran = cli("config", *words)
        assert ran.code == 0
        assert KEY not in ran.out + ran.err
    assert KEY not in path.read_text()
    ran = cli("config", "--base-url", f"http://me:{KEY}@host/v1")
    assert (ran.code, ran.out) == (2, "")
    assert "base_url holds a user's name or password" in ran.err
    assert KEY not in ran.err


def test_config_tells_where_it_cannot_write(cli: Cli, tmp_path: Path) -> None:
    ran = cli("config", "--write", str(tmp_path / "x.ini"))
    assert (ran.code, ran.out) == (2, "")
    assert "unknown format '.ini'" in ran.err


# --- every command ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code"),
    [("ask", 2), ("chat", 2), ("models", 2), ("graph", 0), ("config", 0), ("presets", 0)],
)
def test_without_a_key_one_line_says_what_to_do(command: str, code: int, cli: Cli) -> None:
    """Where nobody is asked, none is needed."""
    ran = cli(command, stdin="Hi")
    assert ran.code == code
    if code:
        assert ran.out == ""
        assert ran.err == f"error: {NO_KEY_MESSAGE}\n"


@pytest.mark.parametrize(
    ("words", "mend"),
    [
        (["ask", "hi", "there"], "give a question of several words in quotes"),
        (["ask", "hi", "--reference_models", "a", "b"], "a list with commas"),
        (["chat", "hello"], "give a question to `langchain-moa ask`"),
        (["ask", "hi", "-t", "hot"], "'hot' is no number"),
        (["logs", "-n", "x"], "'x' is no whole number"),
        (["ask", "hi", "--config", "self-moa"], "give --preset self-moa."),
        (["ask", "hi", "--demo", "--max-cost", "1"], "give --prices FILE with 'demo/"),
        (["ask", "hi", "--preset", str(Path(__file__))], f"give --config {Path(__file__)}."),
    ],
)
def test_wrong_words_are_answered_by_the_right_ones(words: list[str], mend: str, cli: Cli) -> None:
    ran = cli(*words)
    assert (ran.code, ran.out) == (2, "")
    assert mend in ran.err


def test_the_key_of_another_provider_is_another_matter(cli: Cli, server: LoopbackServer) -> None:
    cli.asks(server)
    ran = cli("ask", "Hi", "--aggregator", "openai:gpt-x")
    assert ran.code == 2
    assert "OPENAI_API_KEY" in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    "words", [["ask", "Hi"], ["config", "--config", "none.toml"], ["ask", "--nope"]]
)
def test_debug_shows_the_traceback(words: list[str], cli: Cli) -> None:
    assert "Traceback" not in cli(*words).err
    for debug in (["--debug", *words], [*words, "--debug"]):
        ran = cli(*debug)
        assert ran.code == 2
        assert ran.err.startswith("Traceback (most recent call last):\n")
        assert ran.err.splitlines()[-1].startswith("error: ")


def test_the_unexpected_is_exit_code_1(cli: Cli) -> None:
    def broken(*_: Any, **__: Any) -> None:
        msg = "two\nlines"
        raise RuntimeError(msg)

    cli.environment.setattr("langchain_moa.cli.listing.presets", broken)
    ran = cli("presets")
    assert (ran.code, ran.err) == (1, "error: two lines\n")


def test_without_a_command_there_is_help(cli: Cli) -> None:
    ran = cli()
    assert (ran.code, ran.out) == (2, "")
    assert "Commands:" in ran.err
    assert cli("--help").out.strip() == ran.err.strip()


def test_the_version(cli: Cli) -> None:
    assert cli("--version").out == "langchain-moa 0.1.0\n"


@pytest.mark.parametrize("name", ["click", "rich", "prompt_toolkit", "PIL"])
def test_a_missing_extra_is_named(name: str, cli: Cli) -> None:
    """As a first import finds it: in `sys.modules`, `None` stands for what is not there."""
    loaded = [*sys.modules]
    for module in loaded:
        if module.startswith("langchain_moa.cli."):
            cli.environment.delitem(sys.modules, module)
        if module.partition(".")[0] == name:
            cli.environment.setitem(sys.modules, module, None)
    cli.environment.setitem(sys.modules, name, None)
    command = {"click": ["presets"], "PIL": ["graph", "--demo"]}.get(name, ["chat", "--demo"])
    ran = cli(*command)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    assert "pip install 'langchain-moa[cli]'" in ran.err


def test_the_demo_needs_no_key(cli: Cli) -> None:
    ran = cli("models", "--demo")
    assert ran.code == 0
    assert ran.out.count("* demo/") == 5


def test_a_drawing_is_text_or_a_picture(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "moa.png"
    ran = cli("graph", "--demo", "--mermaid", "--png", str(path))
    assert ran.code == 2
    assert "--mermaid and --png contradict each other" in ran.err
    assert not path.exists()
    assert f"drawn to {path}." in cli("graph", "--demo", "--png", str(path)).err


def test_the_demos_configuration_names_no_server_that_is_gone(cli: Cli) -> None:
    assert "base_url" not in tomllib.loads(cli("config", "--demo").out)
