"""A process for a student's code that can do nothing but compute: bubblewrap where there is one, limits alone elsewhere.

In the sandbox there is Python with its packages and `diffusion_core`, read-only; no file of the teacher, of another student, of the
course kit's graders or of the chapters; an empty folder of 64 MB; no network; one process, which may start threads and no other process;
limits on memory, time, open files and what is written.
"""

import os
import platform
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import Any

from . import wire
from .answers import AnswerError

HERE = Path(__file__).resolve().parent
KIT = {"inside.py": HERE / "inside.py", "wire.py": HERE / "wire.py", "diffusion_core": HERE.parent / "diffusion_core"}
GRACE = 5.0                                     # seconds beyond a limit before the process is killed
SCRATCH = "/scratch"                            # and not /tmp, below which the environment of a clone may lie
LOG = 20_000                                    # characters kept of what a student prints
WARNING = ("There is no bubblewrap on this machine: submissions run with limits on time, memory and processes, but they can read your files "
           "and use the network. Grade on Linux with bubblewrap (Debian: apt install bubblewrap), or in a virtual machine.")


@dataclass(frozen=True)
class Limits:
    """What one submission may use: seconds for each cell and each call, seconds of processor time in all, bytes of memory."""

    cell: float = 30.0
    call: float = 10.0
    cpu: int = 300
    memory: int = 4 << 30


def bubblewrap() -> str | None:
    """The path of a bubblewrap that works here, or None."""
    found = shutil.which("bwrap")
    works = found and subprocess.run([found, "--ro-bind", "/", "/", "--unshare-all", "--unshare-user", "--disable-userns", "true"], capture_output=True).returncode == 0
    return found if works else None


def command(bwrap: str | None, kit: Path, seccomp: int | None) -> list[str]:
    """The command that starts a student's process; `kit` is the folder that holds KIT where there is no bubblewrap."""
    if bwrap is None:
        return [sys.executable, "-s", "-X", "utf8", str(kit / "inside.py")]
    options = ["--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--uid", "65534", "--gid", "65534", "--hostname", "sandbox",
               "--proc", "/proc", "--dev", "/dev", "--size", str(64 << 20), "--tmpfs", SCRATCH, "--dir", "/kit", "--chdir", SCRATCH]
    for path in ("/usr", "/etc/ld.so.cache", "/etc/localtime"):
        options += ["--ro-bind-try", path, path]
    for name in ("/bin", "/lib", "/lib64"):
        options += ["--symlink", os.readlink(name), name] if os.path.islink(name) else ["--ro-bind-try", name, name]
    for path in sorted({sys.prefix, sys.base_prefix}):
        options += [] if path.startswith("/usr") else ["--ro-bind", path, path]
    for name, path in KIT.items():
        options += ["--ro-bind", str(path), f"/kit/{name}"]
    if seccomp is not None:
        options += ["--seccomp", str(seccomp)]
    return [bwrap, *options, "--remount-ro", "/", sys.executable, "-X", "utf8", "/kit/inside.py"]


def no_new_process() -> bytes | None:
    """A seccomp filter under which a process may start threads and no other process; None on a machine that it is not written for.

    Classic BPF over struct seccomp_data: fork and vfork are refused, clone is unless it makes a thread, clone3 is said not to exist (the C
    library then uses clone). Calls of another architecture kill the process.
    """
    numbers = {"x86_64": (0xC000003E, 56, 435, [57, 58]), "aarch64": (0xC00000B7, 220, 435, [])}
    if platform.machine() not in numbers:
        return None
    architecture, clone, clone3, forks = numbers[platform.machine()]
    load, equal, test, back = 0x20, 0x15, 0x45, 0x06
    allow, kill, refuse, missing = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026          # EPERM is 1, ENOSYS 38
    program = [(load, 0, 0, 4), (equal, 1, 0, architecture), (back, 0, 0, kill), (load, 0, 0, 0)]
    if platform.machine() == "x86_64":
        program += [(test, 0, 1, 0x40000000), (back, 0, 0, kill)]                           # the x32 numbers
    for number in forks:
        program += [(equal, 0, 1, number), (back, 0, 0, refuse)]
    program += [(equal, 0, 1, clone3), (back, 0, 0, missing), (equal, 0, 3, clone),
                (load, 0, 0, 16), (test, 1, 0, 0x10000), (back, 0, 0, refuse), (back, 0, 0, allow)]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


class Process:
    """A student's process. `ask` sends a request and waits for its reply; when that does not come in time, the process is killed."""

    def __init__(self, limits: Limits = Limits(), bwrap: str | None = None) -> None:
        self.limits, self.given, self.log, self.asked = limits, [], "", 0
        self._folder = tempfile.TemporaryDirectory()
        seccomp = self._filter() if bwrap else None
        try:
            self.process = subprocess.Popen(
                command(bwrap, self._kit(bwrap), seccomp), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                cwd=self._folder.name, env=environment(bwrap), pass_fds=[seccomp] if seccomp is not None else [],
                start_new_session=True, preexec_fn=lambda: set_limits(limits))
        finally:
            if seccomp is not None:
                os.close(seccomp)
        self._selector = DefaultSelector()
        self._selector.register(self.process.stdout, EVENT_READ)
        self._drain = threading.Thread(target=self._read_log, daemon=True)
        self._drain.start()
        self._receive(time.monotonic() + 60 + GRACE)

    def _filter(self) -> int | None:
        program = no_new_process()
        if program is None:
            return None
        reading, writing = os.pipe()
        os.write(writing, program)
        os.close(writing)
        return reading

    def _kit(self, bwrap: str | None) -> Path:
        folder = Path(self._folder.name, "kit")
        if bwrap is None:
            folder.mkdir()
            for name, path in KIT.items():
                (folder / name).symlink_to(path) if path.is_dir() else shutil.copy(path, folder / name)
        return folder

    def _read_log(self) -> None:
        while data := os.read(self.process.stderr.fileno(), 1 << 16):
            if len(self.log) < LOG:
                self.log = (self.log + data.decode("utf8", "replace"))[:LOG]

    def give(self, function: Callable) -> int:
        self.given.append(function)
        return len(self.given) - 1

    def take(self, number: int) -> Callable:
        if type(number) is not int:
            raise TypeError("a function is named by a number")
        return lambda *args, **kwargs: self.ask("call", self.limits.call, function=number, args=list(args), kwargs=kwargs)

    def ask(self, what: str, seconds: float, **details: Any) -> Any:
        """The value that the process gives back. AnswerError if it raises, ends, sends no data of ours, or takes longer than `seconds`."""
        self.asked += 1
        deadline = time.monotonic() + seconds + GRACE
        self._send({"do": what, "seconds": seconds, "number": self.asked, **details})
        while True:
            reply = self._receive(deadline)
            if "callback" in reply:
                self._send(self._called(reply))
                continue
            if reply.get("number") != self.asked:
                self._fail("it sent a reply to no request")
            if reply.get("late") is True and what != "cell":
                self._fail(str(reply["error"])[:600])       # who waited once in vain does not wait again in this task
            if "error" in reply:
                raise AnswerError(str(reply["error"])[:600])
            return reply.get("value")

    def _called(self, reply: dict) -> dict:
        """What a function of ours gives to the student's call. Wrong arguments are the student's mistake, and told to it alone."""
        try:
            return {"value": self.given[reply["callback"]](*reply["args"], **reply["kwargs"])}
        except AnswerError:
            raise
        except Exception as error:  # noqa: BLE001
            return {"error": f"{type(error).__name__}: {str(error)[:300]}"}

    def _send(self, message: dict) -> None:
        try:
            wire.send(self.process.stdin, message, self.give)
        except OSError:
            self._fail(self._ended())

    def _receive(self, deadline: float) -> dict:
        try:
            reply = wire.receive(lambda size: self._read(size, deadline), self.take)
        except wire.WireError as error:
            self._fail(f"it sent what is no data: {error}")
        if not isinstance(reply, dict):
            self._fail("it sent what is no reply")
        return reply

    def _read(self, size: int, deadline: float) -> bytes:
        parts, missing = [], size
        while missing:
            left = deadline - time.monotonic()
            if left <= 0 or not self._selector.select(left):
                self._fail("it took too long, and could not be interrupted")
            data = os.read(self.process.stdout.fileno(), min(missing, 1 << 20))
            if not data:
                self._fail(self._ended())
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def _ended(self) -> str:
        try:
            code = self.process.wait(1)
        except subprocess.TimeoutExpired:
            return "it closed its connection"
        killed = -code if code < 0 else code - 128 if code > 128 else 0
        names = {signal.SIGKILL: "it was killed: too much memory or processor time", signal.SIGXCPU: "it used too much processor time"}
        return names.get(killed, f"its process ended (code {code})")

    def _fail(self, why: str) -> None:
        self.close()
        raise AnswerError(why)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def close(self) -> None:
        """End the process and all that belongs to it."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            try:
                stream.close()
            except BrokenPipeError:
                pass        # a request that it did not read
        self._drain.join(1)
        self._selector.close()
        self._folder.cleanup()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def environment(bwrap: str | None) -> dict[str, str]:
    """All that a student's process knows of the machine. One thread: results do not depend on the number of cores."""
    home = SCRATCH if bwrap else tempfile.gettempdir()
    return {"PATH": "/usr/bin:/bin", "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8", "MPLBACKEND": "Agg", "MPLCONFIGDIR": home, "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1", **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")}


def set_limits(limits: Limits) -> None:
    """Limits of the process that calls this, and of those that it starts."""
    for name, value in (("RLIMIT_CPU", limits.cpu), ("RLIMIT_FSIZE", 64 << 20), ("RLIMIT_CORE", 0), ("RLIMIT_NOFILE", 256)):
        resource.setrlimit(getattr(resource, name), (value, value))
    if sys.platform == "linux":                 # macOS knows the name and refuses the value
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
