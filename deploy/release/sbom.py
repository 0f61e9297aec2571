"""A bill of materials in CycloneDX's form: what the locks put into the image, and the chat page.

It is made from the locks alone, so the same commit has the same bill everywhere. The bill of the
whole image, with its base, is made where the image is built.
"""

import base64
import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.release import ROOT
from deploy.release.lock import Locked, locked
from deploy.release.versions import version

Component = dict[str, Any]

LOCK = "requirements/runtime.txt"
PAGE = "backend/web/vendor/kept.json"


def bill(epoch: int, root: Path = ROOT) -> str:
    """The bill as JSON.

    `epoch` is the time of the release, in seconds since 1970; the bill has no other time.

    Raises:
        NotReady: a lock cannot be read.
    """
    packages = locked(root / LOCK)
    vendored = [_vendored(name, kept) for name, kept in _page(root).items()]
    service = _service(root)
    content: dict[str, Any] = {
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).isoformat().replace("+00:00", "Z"),
            "lifecycles": [{"phase": "build"}],
            "component": service,
        },
        "components": [*map(_component, packages), *vendored],
        "dependencies": _dependencies(service, packages, vendored),
    }
    name = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": name.urn, "version": 1}
    return json.dumps({**head, **content}, indent=2) + "\n"


def _service(root: Path) -> Component:
    stated = version(root)
    return {
        "type": "application",
        "bom-ref": f"lex@{stated}",
        "name": "lex",
        "version": stated,
        "licenses": [{"license": {"id": "MIT"}}],
    }


def _component(package: Locked) -> Component:
    name = _url(package)
    made: Component = {
        "type": "library",
        "bom-ref": name,
        "name": package.name,
        "version": package.version,
        "purl": name,
        "externalReferences": [
            {
                "type": "distribution",
                "url": name,
                "comment": "one of these files is installed, depending on the platform",
                "hashes": [{"alg": "SHA-256", "content": each} for each in package.sha256],
            }
        ],
    }
    if package.marker:
        made["properties"] = [{"name": "lex:installed-if", "value": package.marker}]
    return made


def _url(package: Locked) -> str:
    return f"pkg:pypi/{package.name}@{package.version}"


def _page(root: Path) -> dict[str, dict[str, Any]]:
    kept: dict[str, dict[str, Any]] = json.loads((root / PAGE).read_text())
    return kept


def _vendored(name: str, kept: dict[str, Any]) -> Component:
    url = f"pkg:npm/{name.replace('@', '%40')}@{kept['version']}"
    digest = base64.b64decode(kept["integrity"].removeprefix("sha512-")).hex()
    return {
        "type": "library",
        "bom-ref": url,
        "name": name,
        "version": kept["version"],
        "licenses": [{"expression": kept["license"]}],
        "purl": url,
        "externalReferences": [
            {
                "type": "distribution",
                "url": url,
                "hashes": [{"alg": "SHA-512", "content": digest}],
            }
        ],
    }


def _dependencies(
    service: Component, packages: list[Locked], vendored: list[Component]
) -> list[dict[str, Any]]:
    needs: dict[str, list[str]] = {}
    for package in packages:
        for name in package.needed_by:
            needs.setdefault(name, []).append(_url(package))
    own = [*needs.get("lex", []), *(component["bom-ref"] for component in vendored)]
    return [
        {"ref": service["bom-ref"], "dependsOn": sorted(own)},
        *(
            {"ref": _url(package), "dependsOn": sorted(needs.get(package.name, []))}
            for package in packages
        ),
    ]
