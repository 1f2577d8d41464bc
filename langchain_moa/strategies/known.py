"""The strategies by their names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from langchain_moa.strategies.base import Strategy
from langchain_moa.strategies.compare import Compare
from langchain_moa.strategies.select import Select
from langchain_moa.types import StrategyName

CONSULTING: Final[Mapping[StrategyName, Strategy]] = MappingProxyType(
    {"compare": Compare(), "select": Select()}
)
"""Those that consult somebody. To synthesize is to consult nobody."""
