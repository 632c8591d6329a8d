"""How much memory is free where this runs."""

import os


def free():
    """Bytes that the machine and its control group leave; None: nobody knows.
    """
    limits = [limit for limit in (_of_machine(), _of_group()) if limit]
    return min(limits) if limits else None


def _of_machine(path="/proc/meminfo"):
    """Available bytes of the machine; None where Linux does not say it."""
    try:
        found = dict(line.split(":", 1) for line in _read(path).splitlines())
        return int(found["MemAvailable"].split()[0]) * 2**10
    except (OSError, KeyError, ValueError):
        return None


def _of_group(root="/sys/fs/cgroup"):
    """Bytes that a container's limit leaves; None where there is no limit."""
    for folder, limit, used, cached in (
            ("", "memory.max", "memory.current", "inactive_file"),
            ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
             "total_inactive_file")):
        try:
            limit, used, stat = (
                _read(os.path.join(root, folder, name))
                for name in (limit, used, "memory.stat"))
            # Cached files count as used, and go when memory is wanted.
            free = int(dict(line.split() for line in stat.splitlines())[cached])
            return max(int(limit) - int(used) + free, 0)
        except (OSError, KeyError, ValueError):  # Also "max": no limit.
            continue
    return None


def _read(path):
    with open(path, encoding="utf-8") as f:
        return f.read().strip()
