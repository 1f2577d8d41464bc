"""Rows as the files of upstream's tools have them, as far as they are read here."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from langchain_moa.evals.types import JSON


class Annotation(TypedDict):
    """AlpacaEval's `annotations.json`: which of two outputs a judge prefers."""

    instruction: str
    output_1: str
    """The baseline's."""
    generator_1: str
    output_2: str | None
    """The model's."""
    generator_2: str
    annotator: str
    preference: float | None
    """1 (the baseline) to 2 (the model)."""
    dataset: NotRequired[str]
    raw_completion: NotRequired[JSON]
    glm_preference: NotRequired[float]


class SingleJudgment(TypedDict):
    """MT-Bench's `<judge>_single.jsonl`: a rating of one answer."""

    question_id: int
    model: str
    judge: list[str]
    """The judge's name, and its prompt's."""
    user_prompt: str
    judgment: str
    score: float
    """-1 where the judge failed or said no rating."""
    turn: int
    tstamp: float


class PairJudgment(TypedDict):
    """MT-Bench's `<judge>_pair.jsonl`: two answers compared in both orders."""

    question_id: int
    model_1: str
    model_2: str
    g1_winner: str
    """`model_1`, `model_2`, `tie`, or `error`, when the judge saw model_1's answer first."""
    g2_winner: str
    judge: list[str]
    g1_user_prompt: str
    g1_judgment: str
    g2_user_prompt: str
    g2_judgment: str
    turn: int
    tstamp: float


class Review(TypedDict):
    """FLASK's reviews: a row of the suite, the answer, and what the judge said of it."""

    idx: int
    skill: list[str]
    domain: list[str]
    difficulty: str | int
    review: str
    score: dict[str, float | str]
    """By skill, as the judge's answer has them; empty where it could not be read."""
    model: NotRequired[str]
    judge: NotRequired[str]
    target_txt: NotRequired[str]
    """The answer that was judged."""
