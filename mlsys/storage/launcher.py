"""A tiny program that takes on the right user and becomes another one: ``launcher.py USER PARENT FOLDER PROGRAM ARGUMENT...``.

It is executed (``python -I -S launcher.py``): ``unshare`` needs a process with one thread, and code between fork and exec in a threaded
program may deadlock. mlsys imports it for its path and exit codes only. Standard library alone; nothing of mlsys may be imported here.

USER is steps joined by ``+``: ``UID:GID`` sets the user, ``namespace`` enters a user namespace in which the uid shows as 65534 (so that
PostgreSQL, which refuses uid 0, runs) while the kernel still treats the process as the same user. Empty: stay who we are.
"""

import contextlib
import ctypes
import os
import signal
import sys

REFUSED, UNREACHABLE, ORPHANED = 70, 71, 72
_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 8, 47, 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _prctl(option: int, *values: int) -> None:
    _call("prctl", option, *(ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]))


def _set_user(uid: int, gid: int) -> None:
    _prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    with contextlib.suppress(OSError):  # a container may not grant it: then the folders' permissions decide, and _become says so
        _keep_access()


def _keep_access() -> None:
    """Keep root's passage through folders (a home of mode 0700, /root): without it the server could not reach its own files there."""
    one = 1 << _CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(one, one, one, 0, 0, 0)  # effective, permitted, inheritable: low words, then high words
    _call("capset", header, sets)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE)


def _become(user: str) -> None:
    for step in filter(None, user.split("+")):
        if step == "namespace":
            _call("unshare", _CLONE_NEWUSER)
        else:
            uid, gid = step.split(":")
            _set_user(int(uid), int(gid))


def _first_blocked(path: str) -> str:
    """The topmost folder on the way to ``path`` that we may not pass, or ``path`` itself."""
    steps = path.split("/")
    for folder in ("/".join(steps[:end]) + "/" for end in range(1, len(steps))):
        if not os.path.exists(folder + "."):
            return folder.rstrip("/")
    return path


def main(user: str, parent: str, folder: str, *command: str) -> int:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        _become(user)
    except OSError as exc:
        sys.stderr.write(f"this machine does not allow it: {exc}\n")
        return REFUSED
    if sys.platform == "linux":  # after any change of user, which clears it
        _prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != int(parent):  # the parent died before the signal was set
        return ORPHANED
    try:
        os.chdir(folder)
        if command:
            os.execv(command[0], command)
    except OSError as exc:
        sys.stderr.write(f"{_first_blocked(exc.filename or command[0])}: {exc.strerror} for user id {os.getuid()}\n")
        return UNREACHABLE
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
