"""The model host as a process: found by its own word, watched through /proc, and killed."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

from conftest import BINARY, warmcell

PATIENCE = 30


def wait_for(what, happened, seconds=PATIENCE):
    """Waits until something is true, and gives it."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if found := happened():
            return found
        time.sleep(0.005)
    raise AssertionError(f"waited in vain: {what}")


def host_pid():
    """The host's process id; `None` when none runs."""
    status = warmcell("host", "status")
    found = re.search(r"process (\d+)", status.stdout)
    return int(found.group(1)) if found else None


def start_host(**options):
    """A host of this test's own, in the foreground of a process."""
    options = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE} | options
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        process = subprocess.Popen([BINARY, "host", "serve"], **options)
        wait_for("the host listens", lambda: host_pid() == process.pid or process.poll() is not None)
        # It leaves when a killed one's last threads still hold the lock.
        if process.poll() is None:
            return process
    raise AssertionError(f"the host ended with {process.returncode}")


def stop_host():
    warmcell("host", "stop")


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def kill(pid):
    """As the kernel's out-of-memory killer does it."""
    os.kill(pid, signal.SIGKILL)
    wait_for("the process is gone", lambda: is_gone(pid))


def memory(pid):
    """Bytes of main memory that a process takes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def processor_seconds(pid):
    """Seconds that a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children(pid):
    """Processes below a process, it included."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found
