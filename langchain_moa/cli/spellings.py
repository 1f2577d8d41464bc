"""Options as the reference scripts spell them, as many have them in their shell's history.

`--reference_models a b c`, `--max_tokens 512`, `--num_proc 4`, `--multi_turn False`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

_LISTS: Final = ("--reference-models", "--trust-host")
_WORDS_OF_SWITCHES: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False}
_TAKES_NO_QUESTION: Final = ("chat", "models", "graph", "config")
"""Commands in which what follows a list of models can be nothing but more models."""


def as_we_spell(words: Sequence[str], switches: Collection[str] = ()) -> list[str]:
    """The words of a command, with options in our own spelling.

    Args:
        words: What was typed, the command first.
        switches: The options, in our spelling, that have a `--no-...`.

    Example:
        >>> as_we_spell(["chat", "--reference_models", "a", "b", "--max_tokens=9"])
        ['chat', '--reference-models', 'a,b', '--max-tokens=9']
        >>> as_we_spell(["chat", "--multi_turn", "False"], {"--multi-turn"})
        ['chat', '--no-multi-turn']
        >>> as_we_spell(["ask", "--", "--max_tokens"])
        ['ask', '--', '--max_tokens']
    """
    end = words.index("--") if "--" in words else len(words)
    spelled = [_with_dashes(word) for word in words[:end]]
    joins = bool(spelled) and spelled[0] in _TAKES_NO_QUESTION
    return [*_joined(spelled, switches, joins=joins), *words[end:]]


def _joined(words: list[str], switches: Collection[str], *, joins: bool) -> Iterator[str]:
    place = 0
    while place < len(words):
        word, place = words[place], place + 1
        following = words[place] if place < len(words) else ""
        if word in switches and following.lower() in _WORDS_OF_SWITCHES:
            place += 1
            yield word if _WORDS_OF_SWITCHES[following.lower()] else f"--no-{word[2:]}"
        elif joins and word in _LISTS:
            names = []
            while place < len(words) and not words[place].startswith("-"):
                names.append(words[place])
                place += 1
            yield word
            if names:
                yield ",".join(names)
        else:
            yield word


def _with_dashes(word: str) -> str:
    if not word.startswith("--"):
        return word
    name, sign, value = word.partition("=")
    return name.replace("_", "-") + sign + value
