"""Why a connection to an upstream failed, in words for the log.

The HTTP transport raises errors of its own, whose causes have the reason.
"""

import ssl

from backend.network.error_chain import chain
from backend.network.file_descriptors import exhaustion_of

_CERTIFICATES = {
    9: "certificate not valid yet",
    10: "certificate expired",
    18: "certificate self-signed",
    19: "certificate chain self-signed",
    20: "certificate of an unknown authority",
    21: "certificate chain incomplete",
    23: "certificate revoked",
    62: "certificate for another host",
    64: "certificate for another address",
}
"""OpenSSL's verification errors (`X509_V_ERR_…`) that an operator is likely to meet."""


def is_timeout(error: BaseException) -> bool:
    return any(isinstance(each, TimeoutError) for each in chain(error))


def is_exhaustion(error: BaseException) -> bool:
    """Whether no file descriptor was left for a connection, so the upstream was never asked."""
    return exhaustion_of(error) is not None


def is_distrust(error: BaseException) -> bool:
    """Whether the upstream's certificate was refused. A retry would meet the same certificate."""
    return any(isinstance(each, ssl.SSLCertVerificationError) for each in chain(error))


def cause_of(error: BaseException) -> str:
    """The root cause in a few words, such as `certificate expired` or `ConnectionRefusedError`."""
    if (exhaustion := exhaustion_of(error)) is not None:
        return exhaustion
    first = chain(error)[-1]
    match first:
        case ssl.SSLCertVerificationError():
            untrusted = f"certificate untrusted: {first.verify_message}"
            return _CERTIFICATES.get(first.verify_code, untrusted)
        case ssl.SSLError(reason=str(reason)):
            return f"TLS failed: {reason.lower().replace('_', ' ')}"
        case _:
            return type(first).__name__
