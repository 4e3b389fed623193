"""The file that the command line keeps a spoken answer in."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from swarm.errors import MycoswarmError


@contextlib.contextmanager
def reply_file(path: Path | None) -> Iterator[IO[bytes] | None]:
    """Where the spoken answer goes: found to be writable before anything is asked, put there when all went well.

    Yields None when `path` is None. Raises `MycoswarmError`.
    """
    if path is None:
        yield None
        return
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # /dev/null, a named pipe
            with path.open("wb") as file:
                yield file
            return
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".reply-", delete=False) as file:
            try:
                yield file
                file.flush()
                Path(file.name).replace(path)
            finally:
                Path(file.name).unlink(missing_ok=True)
    except OSError as error:
        raise MycoswarmError(
            f"cannot write the reply to {path}: {error.strerror or error}", hint="give --reply another file"
        ) from error
