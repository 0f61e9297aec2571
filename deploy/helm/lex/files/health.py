"""`helm test`: the service is healthy and ready."""

import json
import sys
from urllib.request import urlopen

for path, wanted in (("/health", "healthy"), ("/readyz", "ready")):
    with urlopen(sys.argv[1] + path, timeout=10) as answer:
        said = json.load(answer)
    print(path, answer.status, said)
    if said["status"] != wanted:
        sys.exit(1)
