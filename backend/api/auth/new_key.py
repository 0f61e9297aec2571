"""`python -m backend.api.auth.new_key NAME --user ID`: make an API key, and its entry for the file.

The key is printed once. The file only stores its hash.
"""

import argparse
import json
import sys

from backend.api.auth.api_keys import ApiKey, hash_of, new_key


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m backend.api.auth.new_key")
    parser.add_argument("name", help="a name for the key, to recognise its entry in the file")
    speaks_for = parser.add_mutually_exclusive_group(required=True)
    speaks_for.add_argument("--user", help="the id of the user for whom the key acts")
    speaks_for.add_argument(
        "--trusted",
        action="store_true",
        help="the key acts for any user, whom each request names in X-User-Id",
    )
    parser.add_argument(
        "--operator", action="store_true", help="the key shows the usage of all users"
    )
    given = parser.parse_args()
    key = new_key()
    try:
        entry = ApiKey(
            name=given.name,
            hash=hash_of(key),
            user=given.user,
            trusted=given.trusted,
            operator=given.operator,
        )
    except ValueError as error:
        parser.error(str(error))
    line = json.dumps(entry.model_dump(exclude_defaults=True))
    sys.stdout.write(f"Key for its owner:         {key}\nEntry for API_KEYS_FILE:   {line}\n")


if __name__ == "__main__":
    main()
