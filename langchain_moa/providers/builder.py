"""Chat models from strings: a bare id means Together, `"provider:model"` any other provider."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr, ValidationError

from langchain_moa.errors import MissingExtraError, MoAConfigurationError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_together import ChatTogether

TOGETHER_KEY_VARIABLE: Final = "TOGETHER_API_KEY"


class ModelBuilder:
    """Builds chat models from strings for one mixture.

    All Together models that one builder makes share one pair of HTTP clients, and those of all
    builders one pool of connections in each event loop.

    Args:
        api_key: Together key; by default the environment's `TOGETHER_API_KEY`.
        base_url: Address of the Together API; by default the environment's
            `TOGETHER_API_BASE`, else Together's own.
        timeout: Seconds that one request may take; by default the provider's. Those to
            Together get their own at each request.

    The clients repeat no request: the mixture does, within its deadlines.
    """

    def __init__(
        self,
        *,
        api_key: SecretStr | None = None,
        base_url: str | None = None,
        timeout: float | None = None,
    ) -> None:
        self._api_key = api_key
        self._base_url = base_url
        self._timeout = timeout
        self._together: ChatTogether | None = None

    def build(
        self, name: str, field: str, options: Mapping[str, Any] | None = None
    ) -> BaseChatModel:
        """The chat model that a string means.

        Args:
            name: `"provider:model"`, or a Together model id such as
                `"meta-llama/Llama-3.3-70B-Instruct-Turbo"`.
            field: The argument that the string was given for, for error messages.
            options: Arguments of the chat model's class, such as `{"temperature": 0.3}`.

        Raises:
            MoAConfigurationError: The string is empty, names no known provider, the key of its
                provider is missing, or an option is not one of that class.
            MissingExtraError: The provider's package is not installed.
        """
        provider, colon, model = (part.strip() for part in name.partition(":"))
        if not provider or (colon and not model):
            msg = f"{field}={name!r} names no model; give 'provider:model' or a Together model id."
            raise MoAConfigurationError(msg)
        name = f"{provider}{colon}{model}"
        if not colon or "/" in provider:  # ids of fine-tuned models hold a colon after a slash
            return self._build_together(name, field, options)
        if provider.lower() == "together":
            return self._build_together(model, field, options)
        return self._build_other(name, field, options or {})

    def _build_together(
        self, model: str, field: str, options: Mapping[str, Any] | None
    ) -> BaseChatModel:
        if self._together is None:
            self._together = self._new_together(model, field, {})
        if not options:
            return self._together.model_copy(update={"model_name": model})
        return self._new_together(model, field, options)

    def _new_together(self, model: str, field: str, options: Mapping[str, Any]) -> ChatTogether:
        from langchain_together import ChatTogether  # noqa: PLC0415 - slow to import

        from langchain_moa.providers.together import OF_CLIENTS, new_together  # noqa: PLC0415

        # checked here, because ChatTogether without a key sends OPENAI_API_KEY to Together
        key = self._api_key or SecretStr(os.environ.get(TOGETHER_KEY_VARIABLE, ""))
        if not key.get_secret_value().strip():
            msg = (
                f"{field}={model!r} is a Together model, and there is no key for Together; set the "
                f"environment variable {TOGETHER_KEY_VARIABLE}, or pass api_key=..."
            )
            raise MoAConfigurationError(msg)
        _check_options(ChatTogether, field, options)
        settings = {**_set(base_url=self._base_url), "api_key": key, **options}
        like = None if options.keys() & OF_CLIENTS else self._together
        try:
            return new_together(model, like, **settings)
        except ValidationError as error:
            msg = f"{field}={model!r}: {_without_input(error)}"
            raise MoAConfigurationError(msg) from None

    def _build_other(self, name: str, field: str, options: Mapping[str, Any]) -> BaseChatModel:
        try:
            from langchain.chat_models import init_chat_model  # noqa: PLC0415 - optional
        except ImportError as error:
            msg = (
                f"{field}={name!r} needs the package langchain; install the extra: "
                "pip install 'langchain-moa[providers]'."
            )
            raise MissingExtraError(msg) from error
        try:
            settings = {"max_retries": 0, **_set(timeout=self._timeout), **options}
            with warnings.catch_warnings():  # unknown options are found below
                warnings.filterwarnings("ignore", message=".*is not default parameter.*")
                model: BaseChatModel = init_chat_model(name, **settings)
        except ImportError as error:
            msg = f"{field}={name!r}: {error}."
            raise MissingExtraError(msg) from error
        except ValidationError as error:
            msg = f"{field}={name!r}: {_without_input(error)}"
            raise MoAConfigurationError(msg) from None
        except Exception as error:  # each provider's SDK has its own error for a missing key
            text = " ".join(str(error).split())
            if isinstance(error, ValueError) and "infer model provider" in text:
                text = (
                    f"{name.partition(':')[0]!r} is no provider that LangChain knows; give "
                    f"'provider:model', as in 'openai:...', 'anthropic:...' or 'ollama:{name}', "
                    "or a Together model id, as in 'owner/model'."
                )
            msg = f"{field}={name!r}: {text}"
            raise MoAConfigurationError(msg) from error
        _check_options(type(model), field, options)
        return model


def _check_options(model: type[BaseChatModel], field: str, options: Mapping[str, Any]) -> None:
    """Refuse options that the model's class does not have, which it might send as they are."""
    known = {*model.model_fields, *(f.alias for f in model.model_fields.values() if f.alias)}
    known -= {"model", "model_name"}  # which are given already
    for name in options:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"see help({model.__name__})."
            msg = f"{field}.{name} is not an argument of {model.__name__}; {hint}"
            raise MoAConfigurationError(msg)


def check_together_key(model: Any, field: str) -> None:
    """Refuse a user's `ChatTogether` that would send `OPENAI_API_KEY` to Together.

    Raises:
        MoAConfigurationError: It is a `ChatTogether` without a Together key.
    """
    if any(base.__name__ == "ChatTogether" for base in type(model).__mro__):
        key = getattr(model, "together_api_key", None)
        if key is None or not key.get_secret_value():
            msg = (
                f"{field}=ChatTogether(model={model.model_name!r}) has no key for Together and "
                "would send OPENAI_API_KEY there; set the environment variable "
                f"{TOGETHER_KEY_VARIABLE}, or construct it with api_key=..."
            )
            raise MoAConfigurationError(msg)


def _set(**options: Any) -> dict[str, Any]:
    """The options that are set."""
    return {name: value for name, value in options.items() if value is not None}


def _without_input(error: ValidationError) -> str:
    """A validation error without the values, which may hold a key."""
    details = error.errors(include_input=False, include_url=False)
    return "; ".join(f"{'.'.join(map(str, d['loc']))}: {d['msg']}" for d in details)
