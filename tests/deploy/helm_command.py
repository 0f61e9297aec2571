"""The part of Helm's command that kustomize calls, over Helm's own engine.

kustomize runs `version` and then `template RELEASE CHART` with `--namespace` and `--values`.
"""

import argparse
import sys
from pathlib import Path

import helm_python
import yaml


def main() -> None:
    if sys.argv[1] == "version":
        print("v4.2.0")  # noqa: T201 - kustomize reads it
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["template"])
    parser.add_argument("release")
    parser.add_argument("chart", type=Path)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("-f", "--values", type=Path, required=True)
    parser.add_argument("--skip-tests", action="store_true")
    asked = parser.parse_args()

    chart = helm_python.Chart.load(asked.chart)
    values = yaml.safe_load(asked.values.read_text())
    chart.validate_schema(values)
    for path, text in chart.render(values, name=asked.release, namespace=asked.namespace).items():
        is_left_out = asked.skip_tests and "/templates/tests/" in path
        if path.endswith(".yaml") and text.strip() and not is_left_out:
            print(f"---\n{text}")  # noqa: T201 - kustomize reads it


if __name__ == "__main__":
    main()
