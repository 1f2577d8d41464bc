"""What an analyst found, as it is shown to people."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_moa import Analysis

FOUND: Any = {
    "consensus": ["It is *old*.\n# A heading"],
    "contradictions": [
        {
            "topic": "The year",
            "stances": [
                {"model": "a", "stance": "1889"},
                {"model": "b", "stance": "1889"},
                {"model": "c", "stance": "1890"},
            ],
        },
        {
            "topic": "The height",
            "stances": [{"model": "a", "stance": "300 m"}, {"model": "b", "stance": "330 m"}],
        },
    ],
    "partial_coverage": [{"models": ["a", "c"], "point": "Who built it."}],
    "unique_insights": [{"model": "b", "insight": "It was to be <b>torn down</b>."}],
    "blind_spots": ["What it cost."],
}


def test_a_report_says_who_holds_what_and_takes_no_markup_from_models() -> None:
    analysis = Analysis.model_validate(FOUND)
    assert analysis.report("1889, most say.\n") == (
        "1889, most say.\n\n"
        "## Consensus\n\n- It is \\*old\\*. \\# A heading\n\n"
        "## Disagreements\n\n"
        "- The year\n  - **a**, **b**: 1889\n  - **c**: 1890\n"
        "- The height\n  - **a**: 300 m\n  - **b**: 330 m\n\n"
        "## Minority view\n\n"
        "- **c** on The year: 1890\n- **b** alone: It was to be \\<b\\>torn down\\</b\\>.\n\n"
        "## Partial coverage\n\n- **a**, **c**: Who built it.\n\n"
        "## Blind spots\n\n- What it cost."
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("- 5", "\\- 5"),
        ("1990. Then", "1990\\. Then"),
        ("-5 °C", "-5 °C"),
        ("a - 1.5", "a - 1.5"),
        ("R&D, &lt;b&gt;", "R&D, \\&lt;b\\&gt;"),
    ],
)
def test_what_begins_as_a_list_does_is_text(text: str, shown: str) -> None:
    assert Analysis(blind_spots=[text]).report() == f"## Blind spots\n\n- {shown}"


def test_a_notebook_shows_the_report_and_nothing_is_lost_on_the_way() -> None:
    analysis = Analysis.model_validate(FOUND)
    shown = analysis._repr_markdown_()
    assert shown == analysis.report()
    assert analysis.model_dump() == FOUND
    assert Analysis().report("Alone.") == "Alone."
