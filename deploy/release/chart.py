"""The chart as an archive that is the same wherever it is made."""

import gzip
import io
import tarfile
import tempfile
from pathlib import Path

import helm_python

from deploy.release import ROOT, NotReady

CHART = ROOT / "deploy" / "helm" / "lex"


def packed(epoch: int, chart: Path = CHART) -> bytes:
    """Helm's package of a chart, with sorted files, without their owners and times.

    `epoch` is the time of all files, in seconds since 1970.

    Raises:
        NotReady: Helm finds a fault in the chart, or a file is a link.
    """
    links = [path.name for path in chart.rglob("*") if path.is_symlink()]
    if links:
        raise NotReady(f"the chart has links, which some tools drop: {', '.join(links)}.")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            archive = helm_python.package(chart, destination=scratch)
        except helm_python.HelmError as error:
            raise NotReady(f"Helm does not pack the chart: {error}") from error
        with tarfile.open(archive) as made:
            files = {
                member.name: file.read()
                for member in made.getmembers()
                if (file := made.extractfile(member))
            }
    return _archive(files, epoch)


def _archive(files: dict[str, bytes], epoch: int) -> bytes:
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=epoch, filename="") as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(content), epoch, 0o644
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def check(epoch: int, archive: bytes) -> str:
    """Pack the chart again, and render the archive.

    Raises:
        NotReady: the second archive differs, or the chart of the first does not render.
    """
    if packed(epoch) != archive:
        raise NotReady("the chart was packed twice, with two results.")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "lex.tgz"
        path.write_bytes(archive)
        watched = {f"{name}": {"enabled": True} for name in ("prometheusRule", "dashboards")}
        try:
            made = helm_python.Chart.load(path).render(watched, name="lex", namespace="lex")
        except helm_python.HelmError as error:
            raise NotReady(f"the packed chart does not render: {error}") from error
    return f"{len(archive) // 1024} KiB, packed twice alike, {len(made)} templates rendered"
