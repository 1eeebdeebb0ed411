"""Files of recorded measurements, below a folder."""

from collections.abc import Sequence
from pathlib import Path

from configs import ConfigError, shown


def files_below(path: Path, endings: Sequence[str]) -> list[Path]:
    """Return ``path`` if it is a file, else every file below it that ends in one of ``endings``, hidden ones apart.

    Raises:
        ConfigError: nothing there, or a folder that cannot be read.
    """
    try:
        if path.is_file():
            return [path]
        if not path.is_dir():
            raise ConfigError(f"{shown(str(path))}: no such file or folder")
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in endings and file.is_file())
    except ConfigError:
        raise
    except (OSError, ValueError) as error:  # a name that no file can have is a ValueError
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{shown(str(path))}: cannot be read ({reason})") from None
    return [file for file in inside if not any(part.startswith(".") for part in file.relative_to(path).parts)]
