"""All names that come from OpenTelemetry's conventions for generative AI, for spans and metrics.

Source: version 1.41.1 of the semantic conventions, the last release that defines these names. They
have since moved to https://github.com/open-telemetry/semantic-conventions-genai, which has released
nothing yet. Only the two names marked *unreleased* are from there.
"""

VERSION = "1.41.1"
SCHEMA_URL = f"https://opentelemetry.io/schemas/{VERSION}"

# Any operation
OPERATION_NAME = "gen_ai.operation.name"
PROVIDER_NAME = "gen_ai.provider.name"
CONVERSATION_ID = "gen_ai.conversation.id"
AGENT_NAME = "gen_ai.agent.name"
ERROR_TYPE = "error.type"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"

# A call of a model
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
RESPONSE_ID = "gen_ai.response.id"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_FINISH_REASONS = "gen_ai.response.finish_reasons"
RESPONSE_TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
USAGE_INPUT_TOKENS = "gen_ai.usage.input_tokens"
USAGE_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
USAGE_CACHE_READ_INPUT_TOKENS = "gen_ai.usage.cache_read.input_tokens"
USAGE_REASONING_OUTPUT_TOKENS = "gen_ai.usage.reasoning.output_tokens"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105 - no password

# People's and models' words, recorded only if switched on
SYSTEM_INSTRUCTIONS = "gen_ai.system_instructions"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
TOOL_DEFINITIONS = "gen_ai.tool.definitions"
TOOL_CALL_ARGUMENTS = "gen_ai.tool.call.arguments"
TOOL_CALL_RESULT = "gen_ai.tool.call.result"

# The same as plain text, for Phoenix: it lists sessions by these attributes of a trace's root. They
# are OpenInference's, https://github.com/Arize-ai/openinference.
INPUT_VALUE = "input.value"
OUTPUT_VALUE = "output.value"

# A tool call
TOOL_NAME = "gen_ai.tool.name"
TOOL_TYPE = "gen_ai.tool.type"
TOOL_DESCRIPTION = "gen_ai.tool.description"
TOOL_CALL_ID = "gen_ai.tool.call.id"

# Values of `OPERATION_NAME`
CHAT = "chat"
EXECUTE_TOOL = "execute_tool"
INVOKE_AGENT = "invoke_agent"

LEX = "lex"
"""The value of `AGENT_NAME`."""

# Metrics
OPERATION_DURATION = "gen_ai.client.operation.duration"
TIME_TO_FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk"
TIME_PER_OUTPUT_CHUNK = "gen_ai.client.operation.time_per_output_chunk"
TOKEN_USAGE = "gen_ai.client.token.usage"  # noqa: S105 - no password
INVOKE_AGENT_DURATION = "gen_ai.invoke_agent.duration"  # unreleased
EXECUTE_TOOL_DURATION = "gen_ai.execute_tool.duration"  # unreleased


def label(attribute: str) -> str:
    """The attribute as a label in Prometheus: `gen_ai.request.model` is `gen_ai_request_model`."""
    return attribute.replace(".", "_")


def seconds(metric: str) -> str:
    """The name in Prometheus of a metric whose unit is `s`."""
    return f"{label(metric)}_seconds"
