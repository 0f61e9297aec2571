"""Checks `REDIS_URL`: one server, a cluster or Sentinels, each also as `valkey` and with TLS."""

import re
from urllib.parse import urlsplit

from backend.settings.urls import CONTROL, ENCODE, HOST

_SCHEME = r"(?:redis|valkey)s?"
_USER = r"(?:[^/?#\[\]\\]*@)?"
_QUERY = r"(?:\?(?P<query>[^\s#]*))?"
_ONE = rf"(?P<hosts>{HOST}?(?::\d{{0,5}})?)"
_HOSTS = rf"(?P<hosts>{HOST}(?::\d{{1,5}})?(?:,{HOST}(?::\d{{1,5}})?)*)"
_DATABASE = r"(?:/(?P<database>\d*))?"

_SERVER = re.compile(rf"{_SCHEME}://{_USER}{_ONE}{_DATABASE}{_QUERY}")
_SOCKET = re.compile(rf"unix://{_USER}(?P<hosts>)/[^@?#\s]+{_QUERY}")
_SERVERS = re.compile(rf"{_SCHEME}://{_USER}{_HOSTS}{_DATABASE}{_QUERY}")
_CLUSTER = re.compile(rf"{_SCHEME}\+cluster://{_USER}{_HOSTS}{_DATABASE}{_QUERY}")
_SENTINELS = re.compile(
    rf"{_SCHEME}\+sentinel://{_USER}{_HOSTS}/(?P<master>[\w.-]+){_DATABASE}{_QUERY}"
)
_NO_MASTER = re.compile(rf"{_SCHEME}\+sentinel://{_USER}{_HOSTS}{_DATABASE}{_QUERY}")

_FORMS = (
    "it must be a URL like redis://user:password@host:6379/0 (rediss:// for TLS), "
    "redis+cluster://host:6379,host:6379, redis+sentinel://host:26379,host:26379/master "
    f"or unix:///path; {ENCODE}"
)
_SEVERAL = "several hosts need redis+cluster:// or redis+sentinel://"
_ONE_DATABASE = "a cluster has no numbered databases: remove the number"
_MASTER = "the name of the master is missing: redis+sentinel://host:26379,host:26379/master"


def unusable_redis(url: str) -> str | None:
    """Return why this URL cannot be used, without quoting any of it; None if it can."""
    if CONTROL.search(url) or not _can_be_split(url):
        return _FORMS
    # Without a name, `/0` after the Sentinels is meant as a database.
    if _fits(_NO_MASTER, url):
        return _MASTER
    if cluster := _fits(_CLUSTER, url):
        number = cluster["database"] or _database_in(cluster["query"] or "")
        return _ONE_DATABASE if (number or "0").strip("0") else None
    if any(_fits(shape, url) for shape in (_SERVER, _SOCKET, _SENTINELS)):
        return None
    return _SEVERAL if _fits(_SERVERS, url) else _FORMS


def _fits(shape: re.Pattern[str], url: str) -> re.Match[str] | None:
    found = shape.fullmatch(url)
    if found is None:
        return None
    ports = re.findall(r":(\d+)(?=,|$)", found["hosts"])
    return found if all(0 < int(port) <= 65_535 for port in ports) else None


def _database_in(query: str) -> str:
    found = re.search(r"(?:^|&)db=([^&]*)", query)
    return found[1] if found else ""


def _can_be_split(url: str) -> bool:
    """Whether `urlsplit` accepts it: it refuses characters that normalise to `/` or `@`."""
    try:
        urlsplit(url)
    except ValueError:
        return False
    return True
