"""`python -m backend.api.auth.new_key NAME --user ID`: a new API key, and its entry in the file.

The key is shown this once, and only its hash is kept.
"""

import argparse
import json
import sys

from backend.api.auth.api_keys import ApiKey, hash_of, new_key


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m backend.api.auth.new_key")
    parser.add_argument("name", help="of the key, for those who keep the file")
    speaks_for = parser.add_mutually_exclusive_group(required=True)
    speaks_for.add_argument("--user", help="for whom the key speaks")
    speaks_for.add_argument("--trusted", action="store_true", help="it may pass X-User-Id")
    given = parser.parse_args()
    key = new_key()
    try:
        entry = ApiKey(name=given.name, hash=hash_of(key), user=given.user, trusted=given.trusted)
    except ValueError as error:
        parser.error(str(error))
    line = json.dumps(entry.model_dump(exclude_defaults=True))
    sys.stdout.write(f"The key, for its owner:  {key}\nIts entry in the file:   {line}\n")


if __name__ == "__main__":
    main()
