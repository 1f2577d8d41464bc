"""The records of an evaluation: plain JSON, so that each step can be used alone.

    rows ──answers──▶ Answer records ──judge──▶ Judgment records ──score──▶ numbers

A record is found again by its key: suite, row, turn, model, and the hash of the settings that
shaped it. Nothing here imports anything heavy.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypeAlias, TypedDict

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
"""What a JSON file can hold."""


class ChatMessage(TypedDict):
    """One message of a conversation, as chat completions have it."""

    role: Literal["system", "user", "assistant"]
    content: str


class Baseline(TypedDict):
    """The answer that a suite compares with (AlpacaEval's reference outputs)."""

    model: str
    output: str


class Row(TypedDict):
    """One task of a suite.

    The first answer (turn 1) replies to `messages`; each of `follow_ups` is what the user says
    after that, so a row has `1 + len(follow_ups)` turns.
    """

    suite: str
    """`alpaca_eval`, `mt_bench`, `flask`, `flask_hard`, or `custom`."""
    id: str
    """Unique within the suite: MT-Bench's `question_id`, FLASK's `idx`, a custom row's `id`; for
    AlpacaEval, which has none, a hash of the instruction (see `row_id`)."""
    messages: list[ChatMessage]
    follow_ups: list[str]
    category: str
    """MT-Bench's category, AlpacaEval's data set, a custom row's own; `""` where there is none."""
    references: list[str]
    """What a good answer is, turn by turn; empty where the row has no reference."""
    baseline: NotRequired[Baseline]
    """AlpacaEval only."""
    skills: NotRequired[list[str]]
    """FLASK only, here and below: the skills that are judged, as the file spells them."""
    domains: NotRequired[list[str]]
    difficulty: NotRequired[str]


class GenerationSettings(TypedDict):
    """How a suite wants a row to be answered."""

    temperature: float
    max_tokens: int


class Usage(TypedDict):
    """Tokens of a call, all members' together."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class Answer(TypedDict):
    """One answer of one model to one turn of a row."""

    suite: str
    row: str
    """The row's `id`."""
    turn: int
    """1 is the first."""
    model: str
    """The name that reports show."""
    settings: str
    """Hash of all that shapes the answer: the mixture or model, its settings, the row's."""
    first: NotRequired[str]
    """Of a later turn: the `settings` of the row's first answer, which it hangs on."""
    output: str | None
    """`None` where it failed."""
    error: str | None
    usage: Usage | None
    usd: float | None
    """`None` where prices are not known."""
    seconds: float
    moa: dict[str, JSON] | None
    """A mixture's own record: members, statuses, their usage and times."""
    at: str
    """When it was there: ISO 8601, UTC."""


HowRead: TypeAlias = Literal[
    "logprobs", "samples", "verdict", "identical", "rating", "dict", "metric"
]
"""What a judgment was read from: the probabilities of the two tokens, several samples, a
structured verdict, `[[A]]` or `[[rating]]` in the text, a Python dict in it, a function."""


class Judgment(TypedDict):
    """What one judge said of one answer, or of two in one order.

    What a judge said and could not be read has `preference`, `score`, `scores` and `verdict`
    `None`, and stays unscored.
    """

    suite: str
    row: str
    turn: int
    model: str
    baseline: str | None
    """The other model of a comparison; `None` where one answer is rated alone."""
    swapped: bool
    """Whether the judge saw the model's answer before the baseline's. AlpacaEval draws one of both
    orders by chance; MT-Bench's pairs and a user's own prompts are judged in both."""
    judge: str
    prompt: str
    """Hash (SHA-256) of the judge's prompt template; `""` for a metric."""
    settings: str
    """Hash of all that shapes the judgment: the judge's settings, and the answers it saw."""
    preference: float | None
    """1 (the baseline's answer) to 2 (the model's), whatever the order that the judge saw."""
    score: float | None
    """A rating (MT-Bench: 1 to 10) or a metric's value (0 to 1)."""
    scores: dict[str, float | str] | None
    """FLASK: 1 to 5 for each skill, or `"N/A"`, with the names as the judge's answer has them,
    in lower case."""
    verdict: str | None
    """A comparison's verdict: `"model"`, `"baseline"`, `"tie"`, or `"error"`."""
    read: HowRead | None
    raw: JSON
    """What the judge answered, with its log-probabilities where they were used."""
    error: str | None
    usage: Usage | None
    usd: float | None
    seconds: float
    at: str


class RunModel(TypedDict):
    """A model of a run, as its manifest names it."""

    name: str
    role: Literal["mixture", "member", "self-moa", "model"]
    settings: dict[str, JSON]
    """The mixture's or the model's configuration, without keys."""


class RunJudge(TypedDict):
    """The judge of a run, as its manifest names it."""

    name: str
    prompt: str
    """Hash (SHA-256) of its prompt file or template."""
    settings: dict[str, JSON]


class RunScope(TypedDict, total=False):
    """Which records of a run's folder count; all where the fields are missing."""

    asked: dict[str, dict[str, str]]
    """By model and row, the `settings` of its first answer that the last run asked for."""
    judged: dict[str, list[str]]
    """By judge or metric, the `settings` of the judgments that count."""
    judges: list[RunJudge]
    """All judges and metrics whose judgments count; a metric has no prompt and no settings."""


class Run(RunScope):
    """What a run's folder tells of itself: its file `run.json`.

    The folder further holds `answers.jsonl` and `judgments.jsonl` (one record a line), and the
    suite's own files as upstream's tools read them.
    """

    suite: str
    source: str
    """The suite's name, or the path of the custom file."""
    rows: int
    """How many rows were to be answered."""
    limit: int | None
    models: list[RunModel]
    """The first is what the run is about; the others are what it is compared with."""
    judge: RunJudge | None
    """The last run's; `None` for answers alone, and where a metric scores."""
    metric: str | None
    """The last run's."""
    versions: dict[str, str]
    started: str
    finished: str | None
