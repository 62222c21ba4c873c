"""How many cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path

_TOPOLOGY = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of the container's own control group (kernel.org, cgroup v2)


def usable_cores() -> int:
    """Cores of this process's affinity, two hyperthreads of one core being one, but no more than its container's quota."""
    try:
        found = len({_siblings(cpu) for cpu in os.sched_getaffinity(0)})
    except AttributeError:  # another system than Linux
        found = os.cpu_count() or 1
    return max(1, min(found, _quota() or found))


def _siblings(cpu: int) -> str:
    """The hyperthreads of the core that this one belongs to."""
    try:
        return (_TOPOLOGY / f"cpu{cpu}/topology/thread_siblings_list").read_text(encoding="ascii")
    except OSError:
        return str(cpu)


def _quota() -> int | None:
    """Whole cores that the container may use; None without a limit."""
    try:
        allowed, period = _QUOTA.read_text(encoding="ascii").split()
    except OSError:
        return None
    return None if allowed == "max" else max(1, int(allowed) // int(period))
