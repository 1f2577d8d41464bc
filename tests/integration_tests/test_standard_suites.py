"""LangChain's standard suites over real HTTP, for a 2-layer and a 3-layer mixture."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal

import httpx
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig
from langchain_core.utils.function_calling import convert_to_json_schema
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests
from langchain_together import ChatTogether
from pydantic import BaseModel, SecretStr
from typing_extensions import TypedDict

from langchain_moa import MoAChatModel
from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.conftest import AGGREGATOR, PROPOSERS

OVERRIDE = "acme/other"
# a 1x1 PNG, in the place of the pictures and documents that the suites download
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)
ONE_MODEL_RUN = (
    "the suite asserts that the caller's callback sees on_chat_model_start once; a mixture makes "
    "several model calls, and LangChain hands callbacks down to all of them"
)


@cache
def server() -> LoopbackServer:
    models = {name: ModelBehavior() for name in (*PROPOSERS, AGGREGATOR, OVERRIDE)}
    return LoopbackServer(models).start()


@cache
def together(model: str) -> ChatTogether:
    """Members are built once: each construction makes four HTTP clients."""
    address = server()
    return ChatTogether(
        model=model,
        api_key=SecretStr(address.api_key),
        base_url=address.base_url,
        stream_usage=True,
    )


@pytest.fixture(scope="session", autouse=True)
def stop_server() -> Iterator[None]:
    yield
    server().stop()


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(url: str, **_: Any) -> httpx.Response:
        return httpx.Response(200, content=PIXEL, request=httpx.Request("GET", url))

    monkeypatch.setattr(httpx, "get", get)
    monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "offline")


class MixtureTests:
    """The mixture that both suites are run with."""

    layers = 2

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return MoAChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "reference_models": [together(name) for name in PROPOSERS],
            "aggregator": together(AGGREGATOR),
            "layers": self.layers,
        }

    @property
    def model_override_value(self) -> str | None:
        return OVERRIDE

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_urls(self) -> bool:
        return True

    @property
    def supports_pdf_inputs(self) -> bool:
        return True

    @property
    def supports_audio_inputs(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_pdf_tool_message(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True


class TestUnit(MixtureTests, ChatModelUnitTests):
    """Unit suite, 2 layers."""

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        """Members by name, which cannot be built without the key of the environment."""
        members = {"reference_models": list(PROPOSERS), "aggregator": AGGREGATOR}
        params = {**members, "layers": self.layers}
        return {"TOGETHER_API_KEY": "key"}, params, {"num_layers": self.layers}


class TestUnitThreeLayers(TestUnit):
    """Unit suite, 3 layers."""

    layers = 3


class TestIntegration(MixtureTests, ChatModelIntegrationTests):
    """Integration suite, 2 layers."""

    @pytest.mark.xfail(reason=ONE_MODEL_RUN, raises=AssertionError)
    @pytest.mark.parametrize("schema_type", ["pydantic", "typeddict", "json_schema"])
    def test_structured_output(
        self,
        model: BaseChatModel,
        schema_type: Literal["pydantic", "typeddict", "json_schema"],
    ) -> None:
        super().test_structured_output(model, schema_type)

    @pytest.mark.xfail(reason=ONE_MODEL_RUN, raises=AssertionError)
    @pytest.mark.parametrize("schema_type", ["pydantic", "typeddict", "json_schema"])
    async def test_structured_output_async(
        self,
        model: BaseChatModel,
        schema_type: Literal["pydantic", "typeddict", "json_schema"],
    ) -> None:
        await super().test_structured_output_async(model, schema_type)


class OuterRuns(BaseCallbackHandler):
    """Keeps the options of the mixture's own runs."""

    def __init__(self) -> None:
        self.options: list[Any] = []

    def on_chat_model_start(
        self, *_: Any, metadata: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        if (metadata or {}).get("ls_model_name") == "moa":
            self.options.append(kwargs["options"])


class Joke(BaseModel):
    """A joke."""

    setup: str
    punchline: str


class JokeDict(TypedDict):
    """A joke."""

    setup: str
    punchline: str


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("schema", [Joke, JokeDict, Joke.model_json_schema()])
@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
async def test_the_rest_of_structured_output(schema: Any, method: str, layers: int) -> None:
    """What the suite asserts after the count of model runs, on which it is expected to fail."""
    test = TestIntegration()
    test.layers = layers
    llm = MoAChatModel(**test.chat_model_params).with_structured_output(schema, method=method)
    question, outer = "Tell me a joke about cats.", OuterRuns()
    config = RunnableConfig(callbacks=[outer])
    *_, streamed = llm.stream(question, config)
    *_, astreamed = [piece async for piece in llm.astream(question, config)]
    results = [llm.invoke(question, config), await llm.ainvoke(question, config)]
    for result in [*results, streamed, astreamed]:
        found = result if isinstance(result, dict) else result.model_dump()
        assert found.keys() == {"setup", "punchline"}
    assert len(outer.options) == 4
    for options in outer.options:
        assert options["ls_structured_output_format"]["schema"] == convert_to_json_schema(schema)


class TestIntegrationThreeLayers(TestIntegration):
    """Integration suite, 3 layers."""

    layers = 3
