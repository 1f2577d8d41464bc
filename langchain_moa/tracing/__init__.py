"""Runs and their listeners.

What this package reads of others although it is private to them, why, and what would replace it.
Each line has a test in `tests/unit_tests/tracing/test_private.py` that notices when it changes.

- langchain-core's `BaseChatModel._generate_with_cache` and `_agenerate_with_cache`, in `outer_run`:
  `_stream` gets no run manager. Its own argument `run_manager`, once it is passed.
- langchain-core's `tracers.context._configure_hooks`, in `callbacks`: handlers that a context
  manager sets must not be added a second time below a mixture. A public list of them.
- langchain-core's `BaseChatModel._resolve_model_profile` and `_identifying_params`, read of members
  in `members.profiles` and `members.identity`. They are made to be overridden, and stay.
- LangGraph's handlers, told by the name of their module, in `handlers`: its `messages` stream
  shows any message that a handler hears of. A public class.
- LangGraph's keys that begin with `__pregel`, in `engine`: a member that calls `interrupt()`
  fails on one. An error of its own.
- langchain-openai's `_get_request_payload`, in `providers.together`: the request without a second
  copy of it. A public method.
- openai's resources' `_client.post`, in `providers.completions`: answers as the dicts they are.
  `with_raw_response` without types.
- httpx's (or httpx2's) `_init_transport` and `_init_proxy_transport`, in `providers.transport`:
  connections per process and event loop, behind the proxies that the client finds. A factory.
- langchain-core's `_get_invocation_params`, `_get_ls_params` and `_generate`, of members in
  `members.discreet`, `chat_models` and `members.arguments`. They are made to be overridden.
- langchain-openai's `_create_chat_result` and `_convert_chunk_to_generation_chunk`, in
  `members.telling`: reasoning and refusals that they drop. Clients that keep them.
- langchain-anthropic's `_format_output`, `_make_message_chunk_from_anthropic_event`, `_create` and
  `_acreate`, and langchain-mistralai's `_create_chat_result`, in `providers.foreign`: data of an
  odd type ends a call. Clients that read any.
- langchain-anthropic's and langchain-ollama's `_client` and `_async_client`, and the `_client` of
  Groq's, Fireworks' and Ollama's SDKs, in `providers.clients`: connections that are shared. An
  argument for an HTTP client.
- google-genai's `_api_client`, its methods that make requests and its `_http_options`, in
  `providers.foreign` and `providers.clients`, for the same two reasons.
- httpx's `_transport`, `_pool` and httpcore's `_ssl_context`, in `config.data`: whether an HTTP
  client is the one that its class makes. An attribute that says so.
- openai's `Stream._iter_events` and `__stream__`, and their async twins, in `providers.events`: a
  stream does not tell whether it came to its end mark. An attribute that does.
"""
