"""Why a model stopped, in the words of every provider, and what that makes of its answer.

A reason that is not in the table is taken for a whole end: providers add reasons more often than
they add ways to fail, and a text that came must not be lost for a new word. Where there is no text
the answer is none anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

Ending: TypeAlias = Literal["whole", "cut_short", "filtered", "failed"]
"""What a finish reason means.

`whole`: the model stopped of itself, or to call a tool. `cut_short`: it ran into a limit of tokens;
what it wrote is an answer. `filtered`: a filter, or the model itself, refused. `failed`: the
provider could not finish; what it wrote is half an answer at best, and is none.
"""

_PROVIDERS: Final[Mapping[str, Mapping[Ending, str]]] = {
    # platform.openai.com/docs/api-reference/chat/object; "eos" is Together's
    # (docs.together.ai/reference/chat-completions-1), "repetition" and "abort" are vLLM's and
    # SGLang's (docs.vllm.ai, RequestStatus), "error" is OpenRouter's
    # (openrouter.ai/docs/api-reference/overview), "insufficient_system_resource" is DeepSeek's
    # (api-docs.deepseek.com/api/create-chat-completion), "sensitive" and "network_error" are
    # Zhipu's (docs.bigmodel.cn), "model_length" is Mistral's (docs.mistral.ai/api)
    "chat completions": {
        "whole": "stop eos tool_calls function_call repetition",
        "cut_short": "length model_length",
        "filtered": "content_filter sensitive",
        "failed": "error abort insufficient_system_resource network_error",
    },
    # platform.openai.com/docs/api-reference/responses/object: a status, and
    # incomplete_details.reason
    "responses": {
        "whole": "completed",
        "cut_short": "max_output_tokens",
        "filtered": "content_filter",
        "failed": "failed cancelled",
    },
    # platform.claude.com/docs/en/build-with-claude/handling-stop-reasons
    "anthropic": {
        "whole": "end_turn stop_sequence tool_use pause_turn",
        "cut_short": "max_tokens model_context_window_exceeded",
        "filtered": "refusal",
    },
    # ai.google.dev/api/generate-content#FinishReason
    "gemini": {
        "whole": "stop other finish_reason_unspecified",
        "cut_short": "max_tokens continuation",
        "filtered": (
            "safety recitation language blocklist prohibited_content spii image_safety "
            "image_prohibited_content image_recitation escalation pup_limited_disabled model_armor"
        ),
        "failed": (
            "malformed_function_call unexpected_tool_call too_many_tool_calls "
            "malformed_response missing_thought_signature image_other no_image"
        ),
    },
    # docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html: stopReason
    "bedrock": {
        "whole": "end_turn stop_sequence tool_use",
        "cut_short": "max_tokens model_context_window_exceeded",
        "filtered": "guardrail_intervened content_filtered",
        "failed": "malformed_model_output malformed_tool_use",
    },
    # docs.cohere.com/reference/chat
    "cohere": {
        "whole": "complete stop_sequence tool_call",
        "cut_short": "max_tokens",
        "filtered": "error_toxic",
        "failed": "error error_limit timeout user_cancel",
    },
    # done_reason in docs.ollama.com/api/chat; FinishReason in
    # github.com/huggingface/text-generation-inference; stop_reason in
    # cloud.ibm.com/apidocs/watsonx-ai
    "others": {
        "whole": "stop eos_token stop_sequence not_finished unspecified",
        "cut_short": "length token_limit time_limit",
        "failed": "load unload error cancelled",
    },
}
"""The reasons that providers document, in lower case; comments say where."""

ENDINGS: Final[Mapping[str, Ending]] = {
    reason: ending
    for meanings in _PROVIDERS.values()
    for ending, reasons in meanings.items()
    for reason in reasons.split()
}
"""What each known finish reason means."""


def ending_of(reason: object) -> Ending:
    """What a finish reason means; one that is unknown, or no text, means a whole answer.

    Example:
        >>> ending_of("SAFETY"), ending_of("length"), ending_of("error"), ending_of("a new word")
        ('filtered', 'cut_short', 'failed', 'whole')
    """
    return ENDINGS.get(reason.lower(), "whole") if isinstance(reason, str) else "whole"
