"""The `x-ratelimit-*` headers: requests a day, tokens a minute, resets as Go prints them."""

from infrastructure.groq_standin.http import Headers

REQUESTS_PER_DAY = 500_000
TOKENS_PER_MINUTE = 300_000


def headers(prompt_tokens: int) -> Headers:
    """What an organisation sees that asks for nothing else at the moment."""
    used = min(prompt_tokens, TOKENS_PER_MINUTE)
    return {
        "x-ratelimit-limit-requests": str(REQUESTS_PER_DAY),
        "x-ratelimit-limit-tokens": str(TOKENS_PER_MINUTE),
        "x-ratelimit-remaining-requests": str(REQUESTS_PER_DAY - 1),
        "x-ratelimit-remaining-tokens": str(TOKENS_PER_MINUTE - used),
        "x-ratelimit-reset-requests": duration(86_400 / REQUESTS_PER_DAY),
        "x-ratelimit-reset-tokens": duration(used * 60 / TOKENS_PER_MINUTE),
    }


def duration(seconds: float) -> str:
    """Such as `1ms`, `172.8ms`, `2.81s`, `1m26.4s`, `1h0m0s`."""
    if seconds < 1:
        return f"{round(seconds * 1000, 6):g}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    hours, minutes = divmod(int(minutes), 60)
    before = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{before}{round(rest, 3):g}s"
