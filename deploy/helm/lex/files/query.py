"""`helm test`: one query, read up to the `end` of its stream."""

import json
import os
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

url, auth = sys.argv[1:]
token = os.environ.get("TOKEN")
headers = {"Content-Type": "application/json"}
if token:
    headers["Authorization"] = "Bearer " + token
asked = Request(url + "/query", json.dumps({"query": "Hello"}).encode(), headers)

try:
    with urlopen(asked, timeout=60) as stream:
        lines = [line.decode().rstrip("\n") for line in stream]
except HTTPError as error:
    print(error.status, error.read().decode())
    # With authentication and without a token, 401 is the right answer.
    sys.exit(error.status != 401 or auth == "none" or bool(token))

print("\n".join(lines))
events = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
sys.exit(events[-1:] != ["end"] or "chunk" not in events or "error" in events)
