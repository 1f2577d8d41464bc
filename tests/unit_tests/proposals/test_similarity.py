"""Texts that are alike are found without any model, in any language."""

from __future__ import annotations

import math
import unicodedata
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_moa.proposals.similarity import comparable, largest_cluster, most_central
from langchain_moa.testing import LoopbackServer
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, mixture, says

ENGLISH = [
    (
        "The sky looks blue because air molecules scatter short wavelengths of sunlight much "
        "more strongly than long ones. This is known as Rayleigh scattering."
    ),
    (
        "Sunlight is a mix of all colours. When it passes through the atmosphere, gas molecules "
        "scatter blue light in all directions far more than red light."
    ),
    (
        "Short answer: Rayleigh scattering.\n\n- Sunlight contains every colour.\n- Molecules of "
        "air scatter shorter wavelengths (blue) more than longer ones (red)."
    ),
]
CHINESE = [
    "天空看起来是蓝色的。因为大气中的分子对短波长的光散射得更强。这就是瑞利散射。",
    "阳光由各种颜色组成。穿过大气时。空气分子把蓝光向各个方向散射。强度远大于红光。这种现象称为瑞利散射。",
    "简单来说。瑞利散射。蓝光波长短。更容易被大气中的分子散射。因此整个天空看起来是蓝色的。",
]
CODE = [
    """\
def fib(n):
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a
""",
    """\
def fib(n: int) -> int:
    a, b = 0, 1
    while n:
        a, b, n = b, a + b, n - 1
    return a
""",
    """\
def fibonacci(n):
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a
""",
]
REFUSAL = "I'm sorry, but I can't help with that request. Please let me know if you need more."
BREAD = (
    "To bake a sourdough bread you need a lively starter, strong flour, water and salt. Mix the "
    "dough, let it rest for an hour, and let it rise in the fridge over night."
)
CHINESE_BREAD = (
    "做面包需要面粉、水、盐和酵母。先把面团揉好。静置一小时。然后放进冰箱过夜。早上烘烤。"
)

texts = st.text(max_size=40) | st.text("ab ", max_size=12)


@pytest.mark.parametrize("agreeing", [ENGLISH, CHINESE, CODE], ids=["english", "chinese", "code"])
@pytest.mark.parametrize("stranger", [REFUSAL, BREAD, CHINESE_BREAD, "", "42"])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_stranger_is_left_out(agreeing: list[str], stranger: str, place: int) -> None:
    mixed = [*agreeing[:place], stranger, *agreeing[place:]]
    assert largest_cluster(mixed) == [index for index in range(4) if index != place]
    assert most_central(mixed) != place


@pytest.mark.parametrize("agreeing", [ENGLISH, CHINESE, CODE], ids=["english", "chinese", "code"])
def test_answers_that_agree_are_kept(agreeing: list[str]) -> None:
    assert largest_cluster(agreeing) == [0, 1, 2]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([], []),
        (["a"], [0]),
        (["a", "completely different"], [0, 1]),
        (["same", "same", "same"], [0, 1, 2]),
        (["", "", ""], [0, 1, 2]),
        (["yes yes", "yes yes", "no no", "no no"], [0, 1, 2, 3]),  # of one size
        (["one", "two", "six"], [0, 1, 2]),  # nothing in common, hence no cluster
        (["no no", "yes yes", "no no", "yes yes", "yes yes"], [1, 3, 4]),
    ],
)
def test_clusters(given: list[str], kept: list[int]) -> None:
    assert largest_cluster(given) == kept


def test_a_false_answer_in_the_words_of_the_others_is_kept() -> None:
    """A limit that the docstring tells of."""
    false = ENGLISH[0].replace("short", "long", 1)
    assert 3 in largest_cluster([*ENGLISH, false])


def test_a_right_answer_against_a_wrong_majority_is_dropped() -> None:
    """The other limit that the docstring tells of."""
    wrong = "It is 41, as everybody can see by counting."
    assert largest_cluster([wrong, wrong.upper(), "42: six by seven."]) == [0, 1]


def test_most_central() -> None:
    assert most_central(["only"]) == 0
    assert most_central(["a", "b"]) == 0
    assert most_central(["The answer is 42.", "42", "I think that the answer is 42.", "Fish"]) == 0
    with pytest.raises(ValueError, match=r"texts=\[\] .* give at least one text"):
        most_central([])


NFD = partial(unicodedata.normalize, "NFD")
FORMS = [
    ("Straße", "STRASSE"),
    ("a  b\n", "\ta b"),
    ("", " \n"),
    ("서울입니다.", NFD("서울입니다.")),
    ("Hà Nội là thủ đô của Việt Nam.", NFD("Hà Nội là thủ đô của Việt Nam.")),
    ("\uff21\uff22\uff23\uff11\uff12\uff13", "ABC123"),
    ("\uff76\uff80\uff76\uff85", "カタカナ"),
    ("\uff76\uff9e\uff77\uff9e", "ガギ"),
    ("العَاصِمَةُ هِيَ القَاهِرَةُ", "العاصمة هي القاهرة"),
    ("القـــاهرة", "القاهرة"),
    ("יְרוּשָׁלַיִם", "ירושלים"),
    ("نمی\u200cشود", "نمیشود"),
    ("un\u00adbe\u00adliev\u00adable", "unbelievable"),
    ("\ufeffYes", "Yes"),
    ("ﬁne", "fine"),
    ("Οδυσσεύς", "ΟΔΥΣΣΕΎΣ"),
]


@pytest.mark.parametrize(("first", "second"), FORMS)
def test_forms_of_one_text_make_no_difference(first: str, second: str) -> None:
    assert comparable(first) == comparable(second)
    assert largest_cluster([first, second, first, "Something else, that is far longer."]) == [
        0,
        1,
        2,
    ]
    assert most_central(["Something else.", second, first]) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("resume", "résumé"),
        ("かき", "がき"),
        ("ไม", "ไม่"),
        ("पल", "पाल"),
        ("1", "2"),
        ("a b", "ab"),
    ],
)
def test_what_makes_a_difference_stays(first: str, second: str) -> None:
    assert comparable(first) != comparable(second)


def test_the_filter_keeps_an_answer_in_another_form() -> None:
    """Over the wire: of three equal texts, one decomposed, none is an outlier."""
    texts = ["서울은 대한민국의 수도입니다.", NFD("서울은 대한민국의 수도입니다."), "Buy my book!"]
    names = [ALPHA, BETA, GAMMA]
    models = {name: says(text) for name, text in zip(names, texts, strict=True)}
    with LoopbackServer({**models, AGGREGATOR: says("서울.")}) as server:
        llm = mixture(server, reference_models=[*names, ALPHA], proposal_filter="cluster")
        answer = llm.invoke("수도는?")
    statuses = [p["status"] for p in answer.response_metadata["moa"]["proposals"]]
    assert statuses == ["ok", "ok", "outlier", "ok"]


def cosine(first: str, second: str) -> float:
    """What the module's docstring says, for texts without Chinese characters."""
    a, b = ({f"   {t}   "[i:][:4] for i in range(len(t) + 3)} for t in (first, second))
    return len(a & b) / math.sqrt(len(a) * len(b))


plain = st.text("ab c", max_size=12).map(comparable)


@given(st.lists(plain, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_most_central_is_the_same_in_any_order(given: list[str], random: Any) -> None:
    def centrality(index: int, among: list[str]) -> float:
        return sum(cosine(among[index], other) for other in among)

    mixed = list(given)
    random.shuffle(mixed)
    best = centrality(most_central(given), given)
    assert centrality(most_central(mixed), mixed) == pytest.approx(best)
    assert best == pytest.approx(max(centrality(index, given) for index in range(len(given))))


@given(st.lists(texts, min_size=1, max_size=7))
def test_more_than_half_are_kept_in_order(given: list[str]) -> None:
    kept = largest_cluster(given)
    assert kept == sorted(set(kept))
    assert set(kept) <= set(range(len(given)))
    assert 2 * len(kept) > len(given)
    assert largest_cluster(given) == kept


@given(plain, plain, st.integers(3, 6), st.data())
def test_one_against_equals_is_dropped_or_like_them(
    same: str, other: str, count: int, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, count))
    given = [same] * count
    given.insert(place, other)
    everyone = list(range(count + 1))
    alike = cosine(same, other) >= 0.53
    expected = everyone if alike else [i for i in everyone if i != place]
    assert largest_cluster(given) == expected
