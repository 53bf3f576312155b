"""Named points at which a test has the whole process die, as by a power cut. Without the variable they do nothing."""

import os

VARIABLE = "MLSYS_CRASH_POINT"
STATUS = 86


def crash_point(name: str) -> None:
    if os.environ.get(VARIABLE) == name:
        os._exit(STATUS)
