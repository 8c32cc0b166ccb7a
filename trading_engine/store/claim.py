"""Who may write: at most one process at a time, by a lock that dies with its holder.

SQLite: a lock on a file beside the database (the database's own locks come and go with its connections). PostgreSQL: a
session's advisory lock on a connection kept for nothing else. Either way the epoch in table `claim`, which every commit
checks, is what stops a holder that has not yet noticed its loss. Used by one thread, the runtime's supervisor.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import psycopg

ADVISORY_KEY = 0x70617065725F6578  # "paper_ex"; advisory locks are per database, so one constant will do


class Claim(Protocol):
    """A lock between processes."""

    def take(self) -> bool:
        """Try once; say whether the lock is ours now (also when it already was)."""

    def held(self) -> bool:
        """Say whether the lock is still ours."""

    def release(self) -> None:
        """Let go; harmless when nothing is held."""


class FileClaim:
    """A `flock` on a file; the kernel frees it when the process ends in whatever way."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def take(self) -> bool:
        """Try once to lock the file. Raise OSError where the file system has no locks: better than two engines."""
        if self._fd is not None:
            return True
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        except OSError:
            os.close(fd)
            raise
        # For people who wonder who holds it; nothing reads it back.
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        self._fd = fd
        return True

    def held(self) -> bool:
        """Say whether we hold the file, and it is still the one others would lock."""
        if self._fd is None:
            return False
        try:
            there = self._path.stat()
        except OSError:
            return False
        ours = os.fstat(self._fd)
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def release(self) -> None:
        """Unlock. The file stays: removing it would let two processes lock two files of one name."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class AdvisoryClaim:
    """An advisory lock of PostgreSQL; the server frees it when the connection ends."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connect = connect
        self._connection: psycopg.Connection[Any] | None = None

    def take(self) -> bool:
        """Try once. Raise psycopg.Error when the server cannot be asked."""
        if self.held():
            return True
        self.release()
        connection = self._connect()
        try:
            connection.autocommit = True
            row = connection.execute("SELECT pg_try_advisory_lock(%s)", (ADVISORY_KEY,)).fetchone()
        except BaseException:
            connection.close()
            raise
        if row is None or not row[0]:
            connection.close()
            return False
        self._connection = connection
        return True

    def held(self) -> bool:
        """Ask over the locking connection itself: while it answers, the lock is ours."""
        if self._connection is None:
            return False
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def release(self) -> None:
        """Unlock, so that the lock is free when this returns: the server notices a closed connection only later."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.execute("SELECT pg_advisory_unlock(%s)", (ADVISORY_KEY,))
            self._connection.close()
            self._connection = None
