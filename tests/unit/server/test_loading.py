"""How the server imports the application."""

import gc

from backend.server.server import config_of

collecting: list[bool] = []


def __getattr__(name: str) -> object:
    """Stand for an application that is made when the server asks for it."""
    if name != "application":
        raise AttributeError(name)
    collecting.append(gc.isenabled())
    return lambda *_: None


def test_the_application_is_imported_without_garbage_collection_and_never_searched_for_it() -> None:
    frozen = gc.get_freeze_count()

    config_of(f"{__name__}:application").load()

    assert collecting == [False]
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen
