"""Why an upstream could not be reached, in words for the log.

The transport hides it: it calls every connection that cannot be made a `ConnectTimeout`.
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
"""By OpenSSL's `X509_V_ERR_…`: those that an operator meets."""


def is_timeout(error: BaseException) -> bool:
    return any(isinstance(each, TimeoutError) for each in chain(error))


def is_exhaustion(error: BaseException) -> bool:
    """The upstream was not asked at all: there was no descriptor for a connection."""
    return exhaustion_of(error) is not None


def is_distrust(error: BaseException) -> bool:
    """The upstream's certificate was refused. Another try meets the same one."""
    return any(isinstance(each, ssl.SSLCertVerificationError) for each in chain(error))


def cause_of(error: BaseException) -> str:
    """The first cause, such as `certificate expired` or `ConnectionRefusedError`."""
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
