"""Links of the Overview to traces."""

from deploy.dashboards.panels import traces

SLOW_TURNS = traces("Turns over 5 s", '{ name = "invoke_agent lex" && duration > 5s }')
FAILED_TURNS = traces("Failed turns", '{ name = "invoke_agent lex" && span.error.type != nil }')
LATE_CALLS = traces(
    "Calls with a late first chunk", "{ span.gen_ai.response.time_to_first_chunk > 2 }"
)
