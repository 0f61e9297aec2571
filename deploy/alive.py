"""The health check of the image, which has no curl: does the service answer at HOST and PORT?"""

import http.client
import ipaddress
import os
import sys
from collections.abc import Mapping


def is_alive(environment: Mapping[str, str]) -> bool:
    """Ask /livez. The host name in the request is one that every service accepts there."""
    port = int(environment.get("PORT") or 8000)
    connection = http.client.HTTPConnection(reachable(environment.get("HOST", "")), port, timeout=4)
    try:
        connection.request("GET", "/livez", headers={"Host": "localhost"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def reachable(host: str) -> str:
    """The address at which this machine reaches a server that listens at `host`.

    That is the host itself, unless it means all addresses.
    """
    host = host.strip().strip("[]") or "127.0.0.1"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


if __name__ == "__main__":
    sys.exit(not is_alive(os.environ))
