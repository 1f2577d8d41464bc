"""AlpacaEval's length-controlled win rate.

A logistic regression explains a model's preferences by the difference in length (squashed and
standardised), by how hard each instruction is, and by the model itself; the win rate is then
predicted for outputs of equal lengths (Dubois et al., arXiv 2404.04475, version
`length_controlled_v1` of the leaderboard). Annotations of two baselines whose lengths were gamed
are fitted along, at a fifth of the weight, so that the coefficient of length is comparable.

Unlike upstream's, which looks difficulties up by row position, this one goes by instruction text:
shuffled rows give the same number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from langchain_moa.errors import MoAError
from langchain_moa.evals.extra import extra
from langchain_moa.evals.upstream_types import Annotation
from langchain_moa.types import AnyDict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_GAMED_WEIGHT: Final = 0.2 / 2
"""Upstream's 0.2, shared by two gamed baselines."""
_FOLDS: Final = 5
_SEED: Final = 123
"""Both as upstream's, so that cross-validation chooses the same strength of regularisation."""


class NoLengthControlError(MoAError, ValueError):
    """The length-controlled win rate cannot be had; the message says why."""


@dataclass(frozen=True)
class GamedRow:
    """An annotation of a baseline whose length was gamed: a row of `df_gamed.csv`."""

    index: int
    preference: float | None
    """0 to 1."""
    std_delta_len: float
    difficulty: float
    not_gamed: bool


@dataclass(frozen=True)
class Coefficients:
    """What the regression found for a model (upstream publishes them for the leaderboard's).

    Example:
        >>> predict(Coefficients(length=0.5, difficulty=0.0, model=0.0), [0.1, 0.2]).win_rate
        50.0
    """

    length: float
    difficulty: float
    model: float


@dataclass(frozen=True)
class LengthControlled:
    """A length-controlled win rate.

    Attributes:
        win_rate: In percent.
        standard_error: In percent; `None` below two rows.
        coefficients: The regression's.
    """

    win_rate: float
    standard_error: float | None
    coefficients: Coefficients


@dataclass(frozen=True)
class LengthControl:
    """With what length-controlled win rates are fitted.

    Attributes:
        name: The gamed baselines' file, for reports.
        gamed: Its rows.
        difficulty: How hard each instruction is, by its text, in the suite's order.

    Example:
        >>> control = LengthControl("none", gamed=[], difficulty={"2 + 2?": 0.1})
        >>> row = {"instruction": "2 + 2?", "output_1": "4", "output_2": "It is 4."}
        >>> one = {**row, "generator_1": "a", "generator_2": "a", "preference": 1.5}
        >>> control.fit([one]).win_rate  # the baseline against itself
        50.0
    """

    name: str
    gamed: Sequence[GamedRow]
    difficulty: Mapping[str, float]

    def fit(self, annotations: Sequence[Annotation]) -> LengthControlled:
        """Fit the annotations of one model, in any order.

        Raises:
            NoLengthControlError: They cannot be fitted.
        """
        if annotations[0]["generator_1"] == annotations[0]["generator_2"]:
            nothing = Coefficients(0.0, 0.0, 0.0)
            return LengthControlled(50.0, 0.0, nothing)  # by construction
        rows = self._in_order(annotations)
        coefficients = self._coefficients(rows)
        return predict(coefficients, [self.difficulty[row["instruction"]] for row in rows])

    def _in_order(self, annotations: Sequence[Annotation]) -> list[Annotation]:
        places = {text: place for place, text in enumerate(self.difficulty)}
        unknown = [row for row in annotations if row["instruction"] not in places]
        if unknown:
            msg = f"{len(unknown)} instructions have no known difficulty"
            raise NoLengthControlError(msg)
        return sorted(
            annotations, key=lambda row: (places[row["instruction"]], row["output_2"] or "")
        )

    def _coefficients(self, rows: Sequence[Annotation]) -> Coefficients:
        with extra():
            import numpy as np  # noqa: PLC0415 - an extra

        lengths = np.array([len(row["output_1"]) - len(row["output_2"] or "") for row in rows])
        spread = lengths.std(ddof=1) if len(rows) > 1 else 0.0
        if not spread:
            msg = "the differences in length are all the same"
            raise NoLengthControlError(msg)
        shares = [_share(row["preference"]) for row in rows]
        if len({share for share in shares if share is not None}) == 0:
            msg = "no row is scored"
            raise NoLengthControlError(msg)
        ours = [
            (length / spread, self.difficulty[row["instruction"]], True, share)
            for length, row, share in zip(lengths, rows, shares, strict=True)
        ]
        theirs = [(g.std_delta_len, g.difficulty, g.not_gamed, g.preference) for g in self.gamed]
        table = np.array(
            [
                (math.tanh(length), difficulty, not_gamed, share)
                for length, difficulty, not_gamed, share in (*theirs, *ours)
                if share is not None and not math.isnan(share)
            ]
        )
        weights = np.where(table[:, 2] == 1, 1.0, _GAMED_WEIGHT)
        return Coefficients(*_fitted(table[:, :3], table[:, 3], weights))


def _share(preference: float | None) -> float | None:
    return None if preference is None else (preference or 1.5) - 1


def predict(coefficients: Coefficients, difficulties: Iterable[float]) -> LengthControlled:
    """The win rate that coefficients mean, had all outputs the length of the baseline's.

    Example:
        >>> predict(Coefficients(length=-1.0, difficulty=0.0, model=0.0), [0.3, -2.0]).win_rate
        50.0
    """
    shares = [_logistic(coefficients.model + coefficients.difficulty * d) for d in difficulties]
    n = len(shares)
    mean = math.fsum(shares) / n
    squares = math.fsum((share - mean) ** 2 for share in shares)
    error = 100 * math.sqrt(squares / (n - 1) / n) if n > 1 else None
    return LengthControlled(100 * mean, error, coefficients)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _fitted(
    features: NDArray[np.float64], shares: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Fit shares by a logistic regression whose strength is chosen by cross-validation.

    Each row stands there twice, as a win with its share's weight and as a loss with the rest; both
    are in the same fold.
    """
    with extra():
        import numpy as np  # noqa: PLC0415 - an extra, as is the next
        import sklearn  # noqa: PLC0415
        from sklearn.linear_model import LogisticRegressionCV  # noqa: PLC0415
        from sklearn.metrics import make_scorer  # noqa: PLC0415
        from sklearn.model_selection import GroupKFold  # noqa: PLC0415

    n = len(shares)
    won = np.repeat([1, 0], n)
    halves = np.concatenate([shares, 1 - shares])
    twice = np.concatenate([weights, weights])
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = make_scorer(_loss, response_method="predict_proba", greater_is_better=False)
        scorer.set_score_request(half=True, weight=True)
        model = LogisticRegressionCV(
            cv=GroupKFold(n_splits=_FOLDS),
            scoring=scorer,
            solver="liblinear",
            fit_intercept=False,
            random_state=_SEED,
            **_lasso(),
        )
        model.set_fit_request(sample_weight=True)
        model.fit(
            np.concatenate([features, features]),
            won,
            sample_weight=halves * twice,
            groups=np.tile(np.arange(n), 2),
            half=halves,
            weight=twice,
        )
    length, difficulty, own = np.ravel(model.coef_)
    return float(length), float(difficulty), float(own)


def _lasso() -> AnyDict:
    """L1 regularisation, as scikit-learn's version wants it said."""
    major, minor = (int(part) for part in version("scikit-learn").split(".")[:2])
    if (major, minor) < (1, 8):
        return {"penalty": "l1"}
    return {"l1_ratios": (1.0,), "use_legacy_attributes": True}


def _loss(
    won: NDArray[np.float64],
    predicted: NDArray[np.float64],
    half: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> float:
    """Log loss against shares: `half` is the share where the row stands for a win."""
    with extra():
        import numpy as np  # noqa: PLC0415 - an extra

    share = np.where(won == 1, half, 1 - half)
    sure = np.clip(predicted, 1e-15, 1 - 1e-15)
    losses = share * np.log(sure) + (1 - share) * np.log(1 - sure)
    return float(-np.mean(losses * weight))
