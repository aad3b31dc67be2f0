"""Trying out what a container needs, in processes and mounts that go with the trial."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress

from layerview.containers.calls import CLONE_NEWNS, CLONE_NEWPID
from layerview.drivers.mounts import MS_REC, MS_SLAVE, mount, unshare
from layerview.drivers.namespace import call_in_user_namespace
from layerview.errors import LayerviewError

_SECONDS = 20
"""Time that a trial may take."""


def try_out(work: Callable[[], str | None]) -> str | None:
    """Call `work` in the first process of a PID namespace, with mounts of its own.

    An ordinary user's is called as root of a user namespace.

    Returns:
        What `work` said is wrong, or why it could not be called; None when all is well.
    """
    try:
        if os.geteuid() == 0:
            return _alone(work)
        found = call_in_user_namespace(lambda: _alone(work))
    except LayerviewError as error:
        return str(error)
    except OSError as error:
        return f"a trial could not be made: {(error.strerror or str(error)).lower()}"
    return found if isinstance(found, str) or found is None else f"the trial ended with {found}"


def _alone(work: Callable[[], str | None]) -> str | None:
    """Call it as root, if only of a user namespace: what it starts ends with that process."""
    heard, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            unshare(CLONE_NEWPID | CLONE_NEWNS)
            first = os.fork()
            if first == 0:
                _say(tell, lambda: _apart(work))
            _wait(first)
        except OSError as error:
            problem = refused(error)
            _say(tell, lambda: problem)
        finally:
            os._exit(1)
    os.close(tell)
    os.waitpid(child, 0)
    with os.fdopen(heard, "rb") as words:
        said = words.read()
    if not said:
        return f"a container did not start and end within {_SECONDS} s"
    problem = json.loads(said)
    return None if problem is None else str(problem)


def refused(error: OSError) -> str:
    """Say why there are no namespaces, and what helps."""
    if error.errno == errno.EPERM:
        return (
            "namespaces are not permitted (no CAP_SYS_ADMIN, as in a container); run that with"
            " --privileged or --cap-add SYS_ADMIN"
        )
    return f"namespaces: {(error.strerror or str(error)).lower()}"


def _apart(work: Callable[[], str | None]) -> str | None:
    mount("none", "/", "", MS_REC | MS_SLAVE)
    return work()


def _wait(first: int) -> None:
    """Wait for a trial to end, and end it when that takes too long."""
    ended = os.pidfd_open(first)
    if not select.select([ended], [], [], _SECONDS)[0]:
        os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)


def _say(tell: int, work: Callable[[], str | None]) -> None:
    try:
        found = work()
    except (LayerviewError, OSError) as error:
        found = str(error)
    except BaseException as error:
        found = f"trying it failed: {error!r}"
    with suppress(OSError):
        os.write(tell, json.dumps(found).encode())
    os._exit(0)
