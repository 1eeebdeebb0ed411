"""Files that commands write: refused before the work where they cannot be, and never left half written."""

import os
from pathlib import Path

import configs

from .values import InputError


def check_writable(flag: str, name: str) -> Path:
    """Return the path of ``name``, a file that can be written.

    Raises:
        InputError: it cannot; says why.
    """
    shown = configs.shown(name)
    try:
        path = Path(name)
        if "\0" in name:
            raise ValueError
        is_directory, folder_exists = path.is_dir(), path.parent.is_dir()
    except (OSError, ValueError):
        raise InputError(f"{flag} = '{shown}' cannot be written: no file can have this name") from None
    if is_directory:
        raise InputError(f"{flag} = '{shown}' cannot be written: it is a directory, give a file name")
    if not folder_exists:
        raise InputError(f"{flag} = '{shown}' cannot be written: there is no directory '{path.parent}'")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{flag} = '{shown}' cannot be written: no permission in '{path.parent}'")
    return path


def write(flag: str, name: str, content: str | bytes) -> None:
    """Write atomically: a sibling file first, then its name.

    Raises:
        InputError: the file cannot be written.
    """
    path = Path(name)
    draft = path.with_name(f".{path.name[:100]}.{os.getpid()}")
    try:
        draft.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise InputError(f"{flag} = '{configs.shown(name)}' cannot be written ({error.strerror})") from None
