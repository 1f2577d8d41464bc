"""`explain`: what a record says, for people; nothing of it can do more than be read."""

from __future__ import annotations

import io
import json
import re
from base64 import b64decode
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console

from langchain_moa import Explanation, MoAChatModel, MoAConfigurationError, explain
from langchain_moa.testing import LoopbackServer, ModelBehavior, ScriptedChatModel
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, mixture, says

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=http://evil.test/x.png onerror=alert(1)>',
    "![x](http://evil.test/x.png) [y](http://evil.test)",
    "http://evil.test www.evil.test a@evil.test <http://evil.test>",
    "`` ``` ```` `a|b` | c | </details> </pre>",
    "# a\n- b\n> c\n***\n---\n~~~\n&lt;b&gt; \\",
    "\x1b[31m\x9b2J\u202egpj\u2066 \x00\x07",
]


def hostile_record(text: str) -> dict[str, Any]:
    """A record with a text wherever somebody else's stands."""
    call = {
        "model": text, "model_name": text, "status": text, "error": text, "seconds": 1.0,
        "attempts": 2, "usage": None, "cost": 0.5, "left_out": [text],
        "requests": [
            {"model": text, "kind": text, "outcome": text, "started": 0.5, "seconds": 1.0}
        ],
    }  # fmt: skip
    return {
        "layers": 2,
        "proposals": [
            {**call, "layer": 1, "index": 0, "text": text, "status": status}
            for status in (text, "ok", "failed")
        ],
        "aggregator": {**call, "first_token": 0.9},
        "consulted": {**call, "role": text},
        "analysis": {
            "consensus": [text],
            "contradictions": [{"topic": text, "stances": [{"model": text, "stance": text}]}],
            "partial_coverage": [{"models": [text], "point": text}],
            "unique_insights": [{"model": text, "insight": text}],
            "blind_spots": [text],
        },
        "selection": {"by": text, "model": text, "reason": text},
        "degraded": True,
        "degraded_reasons": [{"stage": text, "reason": text}],
        "usage": {"input_tokens": 1, "output_tokens": 1, "unknown": [text]},
        "cost": {"usd": 1.0, "unknown": [text]},
        "vote": {"ballots": 2, "fields": {text: {"votes": 1}}},
        "best_proposal": text,
    }


class Tags(HTMLParser):
    """Collects the tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)


@pytest.fixture(params=HOSTILE, ids=range(len(HOSTILE)))
def hostile(request: pytest.FixtureRequest) -> Explanation:
    text = str(request.param)
    return explain({"record": hostile_record(text), "answer": f"{text}. {text}"})


def test_html_has_no_tags_but_ours(hostile: Explanation, tmp_path: Path) -> None:
    page = hostile.save(tmp_path / "page.html").read_text("utf-8")
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o600
    for text in (hostile.to_html(), page):
        found = Tags(text)
        ours = {"div", "style", "p", "b", "ul", "li", "table", "tr", "th", "td", "h3", "img"}
        ours |= {"details", "summary", "pre"}
        whole = {"html", "head", "body", "meta", "title", "h1"}
        assert {"table", "img", "details"} <= found.tags <= ours | whole
        assert not {name for name in found.attributes if name.startswith("on")}
        assert not found.attributes & {"href", "srcset", "action", "xlink:href"}
        (inside,) = re.findall(r'src="data:image/svg\+xml;base64,([\w+/=]+)"', text)
        assert text.count("<img") == 1
        picture = Tags(b64decode(inside).decode())
        assert picture.tags <= {"svg", "style", "text", "rect", "line", "title"}
        assert picture.attributes.isdisjoint({"src", "href", "xlink:href", "style"})
        assert not {"\x1b", "\x9b", "\u202e", "\u2066", "\x00"} & set(text)


def every(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from every(token.children or [])


def test_markdown_is_shown_and_not_obeyed(hostile: Explanation) -> None:
    tokens = list(every(MarkdownIt("commonmark").enable("table").parse(hostile.to_markdown())))
    kinds = {token.type for token in tokens}
    assert {"table_open", "fence"} <= kinds
    assert not kinds & {"link_open", "image", "html_inline", "code_inline", "blockquote_open", "hr"}
    headings = {t.content for before, t in pairwise(tokens) if before.type == "heading_open"}
    assert {"Members", "Timeline", "Influence", "Proposals"} <= headings
    blocks = {token.content.split("<summary>")[0] for token in tokens if token.type == "html_block"}
    assert blocks <= {"<details>", "</details>\n"}


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_terminal_is_not_commanded_and_nothing_is_wider(hostile: Explanation, width: int) -> None:
    console = Console(width=width, no_color=True, force_terminal=False)
    with console.capture() as captured:
        console.print(hostile)
    assert not {"\x1b", "\x9b", "\u202e", "\x07"} & set(captured.get())
    assert max(map(len, captured.get().splitlines())) <= min(width, 200)


@pytest.mark.parametrize("broken", [None, 1, "x", [], {}, [None], [{}], {"a": 1}, float("nan")])
def test_what_another_version_wrote_is_read_as_far_as_it_goes(broken: object) -> None:
    keys = hostile_record("x")
    for key in set(keys) - {"proposals"}:
        assert explain({**keys, key: broken}).to_html()
    inside = dict.fromkeys(keys["proposals"][0], broken)
    assert explain({"proposals": [inside, broken]}).to_markdown()


@pytest.mark.parametrize(
    "given",
    [AIMessage("Hi"), {}, {"messages": [HumanMessage("Hi")]}, {"a": 1}, "text", None, [], 7],
    ids=repr,
)
def test_what_has_no_record_is_refused(given: Any) -> None:
    with pytest.raises(MoAConfigurationError, match=r"give an answer of a mixture"):
        explain(given)


@pytest.mark.parametrize("name", ["page", "page.txt", "page.HTM"])
def test_a_file_of_no_form_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MoAConfigurationError, match=r"\.html or \.md or \.json"):
        explain({"proposals": []}).save(str(tmp_path / name))
    with pytest.raises(MoAConfigurationError, match="No such file"):
        explain({"proposals": []}).save(tmp_path / "nowhere" / "page.md")


BLUE = "The sky is blue because of Rayleigh scattering."
RED = "Red light is scattered less than blue light is."


@pytest.mark.parametrize("way", ["invoke", "stream", "graph"])
def test_who_said_what_when_and_whom_the_answer_follows(way: str, tmp_path: Path) -> None:
    """A member that fails twice, and one that is slow and has a hedge: all over the wire."""
    server = LoopbackServer({})
    server.models = {
        ALPHA: says(BLUE),
        BETA: says(RED, once=lambda: len(server.requests_for(BETA)) > 1),
        GAMMA: ModelBehavior(status=503, error="no such luck"),
        AGGREGATOR: says(f"{BLUE} {RED} Violet is absorbed.", token_delay=0.001),
    }
    prices = {ALPHA: (1.0, 2.0), AGGREGATOR: (1.0, 2.0)}
    with server:
        llm = mixture(
            server,
            reference_models=[ALPHA, BETA, GAMMA],
            include_proposals=True,
            prices=prices,
            max_retries=1,
            hedge_after=0.1,
        )
        if way == "graph":
            explanation = explain(llm.graph.invoke({"messages": ["Why?"]}))
        elif way == "stream":
            first, *others = llm.stream("Why?")
            explanation = explain(first + others)
        else:
            explanation = explain(llm.invoke("Why?"))
        requests = len(server.requests)
    assert [(m.layer, m.model, m.usable) for m in explanation.members] == [
        (1, ALPHA, True), (1, BETA, True), (1, GAMMA, False), (2, AGGREGATOR, True)
    ]  # fmt: skip
    assert "no such luck" in explanation.reasons[0]
    assert explanation.totals.requests == requests == len(explanation.timeline)
    assert {(s.model, s.kind, s.outcome) for s in explanation.timeline} >= {
        (GAMMA, "first", "failed"), (GAMMA, "retry", "failed")
    }  # fmt: skip
    assert "answered" in {s.outcome for s in explanation.timeline if s.model == ALPHA}
    of_beta = {s.kind: s.outcome for s in explanation.timeline if s.model == BETA}
    assert set(of_beta) == {"first", "hedge"}
    assert sorted(of_beta.values()) == ["answered", "given_up"]
    assert all(0 <= span.start <= span.end for span in explanation.timeline)
    tokens = [span.first_token for span in explanation.timeline if span.role == "aggregator"]
    assert any(token is not None for token in tokens) is (way == "stream")
    assert explanation.influence is not None
    assert [(m.model, m.sentences) for m in explanation.influence.members] == [
        (ALPHA, 1),
        (BETA, 1),
    ]
    assert [s.model for s in explanation.influence.sentences] == [ALPHA, BETA, ""]
    saved = json.loads(explanation.save(str(tmp_path / "it.json")).read_text("utf-8"))
    assert explain(saved).to_markdown() == explanation.to_markdown()
    assert set(explanation._repr_mimebundle_()) == {"text/plain", "text/markdown", "text/html"}


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_terminal_tells_all_that_the_record_has(width: int) -> None:
    record = hostile_record("acme/alpha")
    first, *others = record["proposals"]
    first |= {"usage": {"input_tokens": 1200, "output_tokens": 34}, "model_name": "alpha-2026"}
    record["proposals"] = [{**first, "text": "It is 4.", "status": "ok"}, *others]
    spans = [
        {"model": "acme/alpha", "kind": "hedge", "outcome": outcome, "started": 0.0, "seconds": 0.2}
        for outcome in ("answered", "failed", "given_up", "of another version")
    ]
    record["aggregator"] |= {"requests": spans, "first_token": 0.1}
    for encoding in ("utf-8", "ascii"):
        file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
        console = Console(file=file, width=width, force_terminal=False)
        console.print(explain({"record": record, "answer": "It is 4."}))
        file.seek(0)
        text = file.read()
        assert max(map(len, text.splitlines())) <= width
        for title in ("timeline", "influence", "consensus", "blind spots"):
            assert f"\n{title}\n" in text
        assert "alpha-2026" in text.replace("\n", "")
        assert ("1,200" in text) is (width == 200)
        assert "|" in text  # where the first token came
        bars = "#x." if encoding == "ascii" else "█▒░"
        assert width == 40 or set(bars) <= set(text)  # there each is one mark, the token in it
        assert width == 40 or "?" not in text  # there rich cuts with its own mark


def test_a_record_without_times_or_texts_says_so() -> None:
    file = io.StringIO()
    bare = {"layer": 1, "index": 0, "model": "m", "status": "ok"}
    Console(file=file, width=100).print(explain({"proposals": [bare], "aggregator": None}))
    assert "does not tell when requests were made" in file.getvalue()
    assert "include_proposals=True" in file.getvalue()


def test_without_texts_that_is_said() -> None:
    with LoopbackServer({ALPHA: says("4"), BETA: says("4"), AGGREGATOR: says("4")}) as server:
        explanation = explain(mixture(server).invoke("2+2?"))
    assert explanation.influence is None
    told = "include_proposals=True of the mixture has them recorded"
    assert explanation.to_html().count(told) == explanation.to_markdown().count(told) == 2
    assert not explanation.reasons


def test_what_marks_up_a_list_is_no_sentence() -> None:
    text = "# Two things\n\n1. **Go there.** It is far.\n2) Stay.\n> - Or both; 3.5 is a number."
    says = ScriptedChatModel.saying(text)
    llm = MoAChatModel(reference_models=[says], aggregator=says, include_proposals=True)
    found = explain(llm.invoke("Hi")).influence
    assert found is not None
    assert [sentence.text for sentence in found.sentences] == [
        "Two things",
        "Go there. It is far.",
        "Stay.",
        "Or both; 3.5 is a number.",
    ]
