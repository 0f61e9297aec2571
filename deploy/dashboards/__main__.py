"""Writes the dashboards' files: `python -m deploy.dashboards`."""

from deploy.dashboards.files import files

for path, text in files().items():
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
