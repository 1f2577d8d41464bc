"""What a model cannot take is found, and a note left in its place."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage

from langchain_moa.messages.content import unsupported, without_content

KINDS = ["audio", "image", "pdf", "video"]
NOTHING = {f"{kind}_inputs": False for kind in KINDS}
TEXT = {"type": "text", "text": "What is this?"}


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        ({"type": "image", "url": "https://example.com/a.png"}, "image"),
        ({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}, "image"),
        ({"type": "input_image", "image_url": "https://example.com/a.png"}, "image"),
        ({"type": "image", "source": {"type": "base64", "data": "AA=="}}, "image"),
        ({"type": "audio", "base64": "AA==", "mime_type": "audio/wav"}, "audio"),
        ({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}, "audio"),
        ({"type": "video", "url": "https://example.com/a.mp4"}, "video"),
        ({"type": "file", "base64": "AA==", "mime_type": "application/pdf"}, "pdf"),
        ({"type": "document", "source": {"type": "base64"}}, "pdf"),
        (
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "AA=="},
            },
            "pdf",
        ),
        ({"type": "document", "source": {"type": "url", "url": "https://example.com/a"}}, "pdf"),
        ({"type": "input_file", "file_data": "AA=="}, "pdf"),
    ],
)
def test_kinds_in_every_providers_words(block: dict[str, Any], kind: str) -> None:
    message = HumanMessage([TEXT, block])
    assert unsupported(NOTHING, [message]) == [kind]
    assert unsupported({f"{kind}_inputs": True}, [message]) == []
    assert unsupported({}, [message]) == []
    assert unsupported({f"{kind}_inputs": None}, [message]) == []
    (without,) = without_content([message], {f"{kind}_inputs": False})
    note = {"type": "text", "text": f"[{kind} left out: this model cannot take it]"}
    assert without.content == [TEXT, note]
    assert message.content == [TEXT, block]


@pytest.mark.parametrize(
    "block", [{"type": "media", "mime_type": "image/png", "data": "AA=="}, {"type": "video_url"}]
)
def test_googles_and_vllms_words(block: dict[str, Any]) -> None:
    assert unsupported(NOTHING, [HumanMessage([TEXT, block])]) != []


@pytest.mark.parametrize("mime_type", ["text/plain", "text/csv", "audio/wav"])
def test_a_file_that_is_no_pdf_is_not_called_one(mime_type: str) -> None:
    block = {"type": "file", "base64": "AA==", "mime_type": mime_type}
    assert "pdf" not in unsupported(NOTHING, [HumanMessage([TEXT, block])])


@pytest.mark.parametrize(
    "source",
    [
        {"type": "text", "media_type": "text/plain", "data": "Remagen, 1916."},
        {"type": "base64", "media_type": "text/plain", "data": "AA=="},
        {"type": "content", "content": "Remagen, 1916."},
        {"type": "content", "content": [TEXT]},
    ],
)
def test_a_document_of_text_is_no_pdf(source: dict[str, Any]) -> None:
    document = {"type": "document", "source": source, "title": "History"}
    assert unsupported(NOTHING, [HumanMessage([TEXT, document])]) == []


def test_a_picture_inside_a_document_is_found() -> None:
    picture = {"type": "image", "source": {"type": "base64", "data": "AA=="}}
    source = {"type": "content", "content": [TEXT, picture]}
    message = HumanMessage([{"type": "document", "source": source, "title": "History"}])
    assert unsupported(NOTHING, [message]) == ["image"]
    (without,) = without_content([message], {"image_inputs": False})
    note = {"type": "text", "text": "[image left out: this model cannot take it]"}
    expected = {
        "type": "document",
        "source": {"type": "content", "content": [TEXT, note]},
        "title": "History",
    }
    assert without.content == [expected]
    assert source["content"] == [TEXT, picture]


@pytest.mark.parametrize("content", ["text", [TEXT], ["a", TEXT], [{"no": "type"}], []])
def test_text_is_no_kind(content: Any) -> None:
    assert unsupported(NOTHING, [HumanMessage(content)]) == []


def test_all_messages_count_and_the_rest_stays() -> None:
    picture = {"type": "image", "url": "https://example.com/a.png"}
    sound = {"type": "audio", "base64": "AA=="}
    given: list[BaseMessage] = [
        HumanMessage("plain"),
        ToolMessage([picture, "bare"], tool_call_id="1"),
        HumanMessage([sound, picture]),
    ]
    assert unsupported(NOTHING, given) == ["audio", "image"]
    assert unsupported({"image_inputs": False}, given) == ["image"]
    result = without_content(given, {"image_inputs": False})
    assert result[0] is given[0]
    assert result[1].content[1] == "bare"
    assert result[2].content[0] == sound
    assert "image" not in {b["type"] for m in result[1:] for b in m.content if isinstance(b, dict)}
    assert isinstance(result[1], ToolMessage)
    assert result[1].tool_call_id == "1"


def test_a_picture_inside_a_tools_result_is_found() -> None:
    """Anthropic keeps tool results as blocks of the user's message."""
    nested = {
        "type": "tool_result",
        "tool_use_id": "1",
        "content": [{"type": "image", "source": {"type": "base64", "data": "AA=="}}],
    }
    assert unsupported(NOTHING, [HumanMessage([nested])]) == ["image"]


def test_nothing_to_leave_out() -> None:
    given = [HumanMessage("plain")]
    assert without_content(given, NOTHING) == given


def test_a_picture_that_only_users_may_send() -> None:
    picture = {"type": "image", "url": "https://example.com/a.png"}
    given: list[BaseMessage] = [
        HumanMessage([picture]),
        ToolMessage([picture], tool_call_id="1"),
    ]
    profile = {"image_inputs": True, "image_tool_message": False}
    assert unsupported(profile, given) == ["image"]
    assert unsupported(profile, given[:1]) == []
    users, tools = without_content(given, profile)
    assert users is given[0]
    assert tools.text == "[image left out: this model cannot take it]"
