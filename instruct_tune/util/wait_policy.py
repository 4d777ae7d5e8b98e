"""OpenMP wait policy: threads sleep between parallel regions if the cores are shared, else spin briefly first.

torch's wheel for Linux ships libgomp, whose threads spin up to 300,000 rounds between two regions. Spinning takes time
from other processes that compute: on two cores, two trainings at once run at an eighth of the speed of one. The
runtime reads its variables when it is loaded, so they are set before torch is imported. The policy does not change the
order of any sum. Standard library only, because the package imports this first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path

from ..errors import SettingsError

PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Sleep at once (OpenMP specification, OMP_WAIT_POLICY). Alone on the machine, training is 10 to 20% slower with it."""
BOUNDED_SPIN = {"GOMP_SPINCOUNT": "10000"}
"""Spin this many rounds, then sleep (libgomp manual, GOMP_SPINCOUNT). Costs almost nothing alone on the machine."""
CHOSEN_BY_A_PERSON = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
SHARED = "LAB_SHARED_CPU"
BUSY_SHARE = 0.5
"""Runnable processes per core, averaged over a minute, from which the machine counts as busy."""


def set_wait_policy(environ: MutableMapping[str, str] = os.environ) -> None:
    """Set the wait policy for this machine in ``environ``, unless a variable there already sets one."""
    if not any(name in environ for name in CHOSEN_BY_A_PERSON):
        environ.update(PASSIVE if why_shared(environ) else BOUNDED_SPIN)


def why_shared(
    environ: Mapping[str, str],
    root: Path = Path("/"),
    machine_cores: int | None = None,
    usable_cores: int | None = None,
    load: float | None = None,
) -> str | None:
    """Why the cores are considered shared with other processes; None if they are not.

    ``root``: the folder that contains ``sys/fs/cgroup`` and ``proc/self/cgroup``. ``machine_cores``: cores of the
    machine. ``usable_cores``: cores this process may run on. ``load``: load average of the last minute. Each is read
    from the system if None.
    """
    if (shared := environ.get(SHARED)) in ("0", "1"):
        return f"{SHARED}=1" if shared == "1" else None
    if environ.get("SPACE_ID"):
        return "it is a Space"
    machine_cores = machine_cores or os.cpu_count() or 1
    usable_cores = usable_cores or _usable_cores(machine_cores)
    if usable_cores < machine_cores:
        return f"{usable_cores} of {machine_cores} cores may be used"
    quota = cpu_quota(root)
    if quota is not None and quota < machine_cores:
        return f"the container has a quota of {quota:g} of {machine_cores} cores"
    load = _load() if load is None else load
    return f"the load average is {load:.1f}" if load >= BUSY_SHARE * machine_cores else None


def check_environment(environ: Mapping[str, str] = os.environ) -> None:
    """Raise SettingsError for an invalid value of ``LAB_SHARED_CPU``."""
    if (value := environ.get(SHARED, "")) not in ("", "0", "1"):
        raise SettingsError([f"{SHARED} must be 1 (the cores are shared) or 0 (they are not), not {value!r}"])


def cpu_quota(root: Path = Path("/")) -> float | None:
    """CPU quota of this process's control groups, in cores; None if none of them has a quota.

    The smallest quota counts, because a group cannot exceed its ancestors (Linux,
    Documentation/admin-guide/cgroup-v2.rst and Documentation/scheduler/sched-bwc.rst).
    """
    quotas = [quota for folder in _groups(root) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _groups(root: Path) -> Iterator[Path]:
    """The folders of this process's CPU control groups and of their ancestors."""
    mounts = root / "sys/fs/cgroup"
    yield from (mounts, mounts / "cpu")
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        # Version 2 has one hierarchy and names no controllers.
        if not controllers or "cpu" in controllers.split(","):
            mount = mounts / "cpu" if controllers else mounts
            inside = Path(path.lstrip("/"))
            # In a container the path may be the host's, which does not exist below the mount.
            yield from (mount / group for group in (inside, *inside.parents))


def _quota(folder: Path) -> float | None:
    """The quota of one group in cores; cgroup version 2 has one file for it, version 1 two."""
    limit = _words(folder / "cpu.max") or [
        *_words(folder / "cpu.cfs_quota_us")[:1],
        *_words(folder / "cpu.cfs_period_us")[:1],
    ]
    # "max" in version 2 and -1 in version 1 mean no quota.
    if len(limit) != 2 or not all(word.isdigit() and int(word) for word in limit):
        return None
    return int(limit[0]) / int(limit[1])


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        return []


def _usable_cores(machine_cores: int) -> int:
    """Cores in the affinity mask of this process; all cores if the system has none (macOS)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine_cores


def _load() -> float:
    """Load average of the last minute; 0 if the system does not report it."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return 0.0
