"""A student's process can compute and do nothing else, and nothing that it does there earns points."""

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest
import torch

from course import sandbox
from course.answers import AnswerError
from course.remote import SandboxAnswers
from course.sandbox import Limits, Process
from course.task import Task, close, number, tensor

QUICK = Limits(cell=2.0, call=2.0)
RIGHT = "import torch\ndef double(x):\n    return 2 * x\n"
SECRET = "The teacher's file."

twice = Task("twice", ("double",), minutes=5, difficulty=1, example="double(1.0)")


@twice.part(2, "numbers are doubled")
def numbers(answers, case):
    for x in case.normal(5).tolist():
        assert close(number(answers.double(x)), 2 * x), f"double({x:.3g}) is wrong"


@twice.part(3, "tensors are doubled")
def tensors(answers, case):
    x = case.normal(4, 2, stream=1)
    assert torch.allclose(tensor(answers.double(x), 4, 2), 2 * x), "a tensor is not doubled"


@pytest.fixture(scope="session")
def bwrap():
    found = sandbox.bubblewrap()
    if found is None:
        pytest.skip("there is no bubblewrap here")
    return found


@pytest.fixture
def run(bwrap):
    """Run cells in a sandbox and grade `twice`; gives the answers, closed, and the result."""

    def run(*cells, limits=QUICK, task=twice, through=bwrap):
        answers = SandboxAnswers(list(cells), limits, through)
        try:
            answers.prepare(task.harness)
        except AnswerError:
            pass            # then every call fails
        result = task.grade(answers, task.case("a class", "a student"))
        answers.close()
        return answers, result

    return run


def test_a_right_answer_earns_everything(run):
    answers, result = run(RIGHT, "print('hello')")
    assert (result.points, answers.errors, answers.log) == (5, [], "hello\n")


def test_cells_that_fail_do_not_stop_the_others_and_magic_is_left_out(run):
    answers, result = run("1 / 0", "%matplotlib inline\n!ls\n" + RIGHT, "def broken(:", "raise SystemExit")
    assert result.points == 5
    assert [error.split(":")[0] for error in answers.errors] == ["code cell 1", "code cell 3", "code cell 4"] and "ZeroDivisionError" in answers.errors[0]


# What it can see and do


ATTEMPTS = [
    "open({secret!r}).read()", "open({secret!r}, 'w')", "os.remove({secret!r})", "shutil.rmtree({folder!r})", "os.listdir({folder!r})",
    "open({here!r}).read()", "os.listdir({repository!r} + '/chapters')", "open({repository!r} + '/course/task.py')", "import course", "from course.tasks import origins",
    "open('/etc/passwd').read()", "open('/root/.bashrc').read()", "open({repository!r} + '/x', 'w')", "open('/x', 'w')", "os.mkdir('/kit/x')",
    "open('/kit/inside.py', 'a')", "os.remove('/kit/wire.py')", "open('/usr/lib/x', 'w')", "open(torch.__file__, 'a')", "os.chmod('/kit', 0o777)",
    "socket.create_connection(('127.0.0.1', {port}), 1)", "socket.create_connection(('1.1.1.1', 53), 1)", "socket.getaddrinfo('example.org', 80)",
    "os.fork()", "subprocess.run(['/bin/sh', '-c', 'true'], check=True)", "os.posix_spawn('/bin/true', ['true'], {{}})", "multiprocessing.Process(target=print).start()",
    "os.kill({pid}, 9)", "os.chroot('/')", "ctypes.CDLL(None).mount(b'x', b'/scratch', b'tmpfs', 0, None) == 0 or 1 / 0", "os.setuid(0)",
    "ctypes.CDLL(None).unshare(0x10000000) == 0 or 1 / 0", "os.sched_setaffinity({pid}, [0])", "resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))",
]


def test_every_attempt_on_the_machine_fails_and_the_answer_counts_all_the_same(run, tmp_path):
    secret = tmp_path / "grades.txt"
    secret.write_text(SECRET)
    with socket.create_server(("127.0.0.1", 0)) as server:
        values = {"secret": str(secret), "folder": str(tmp_path), "here": __file__, "repository": str(sandbox.HERE.parent), "port": server.getsockname()[1], "pid": os.getpid()}
        cells = [attempt.format(**values) for attempt in ATTEMPTS]
        answers, result = run("import os, shutil, socket, subprocess, multiprocessing, resource, ctypes, torch", *cells, RIGHT, limits=Limits(cell=5.0))
    failed = [int(error.split(":")[0].removeprefix("code cell ")) for error in answers.errors]
    assert [cells[i] for i in range(len(cells)) if i + 2 not in failed] == []
    assert result.points == 5 and secret.read_text() == SECRET and not any(SECRET in error for error in answers.errors)


def test_it_sees_an_empty_folder_its_kit_and_no_name_of_ours(run):
    show = "import os, sys\nprint(sorted(os.listdir('/scratch')), sorted(os.listdir('/kit')), sorted(os.environ), len(os.listdir('/proc')), os.getuid(), sys.argv)"
    answers, _ = run(show, RIGHT)
    assert "[] ['diffusion_core', 'inside.py', 'wire.py'] ['HOME'," in answers.log and "65534 ['/kit/inside.py']" in answers.log
    assert not {"USER", "SSH_AUTH_SOCK", "TOKEN"} & set(answers.log.split("'"))


def test_what_it_writes_is_gone_with_it(run):
    run("open('/scratch/x', 'w').write('x' * 1000)", RIGHT)
    answers, _ = run("import os\nprint(os.listdir('/scratch'))", RIGHT)
    assert answers.log == "[]\n"


@pytest.mark.parametrize("cell, why", [
    ("while True: pass", "longer than 2 s"),
    ("import time\ntime.sleep(60)", "longer than 2 s"),
    ("x = [bytearray(1 << 28) for _ in range(100)]", ""),
    ("import torch\nx = torch.ones(10**10)", "allocate"),
    ("import threading, time\nfor _ in range(100_000): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()", ""),
    ("f = open('/scratch/x', 'wb')\nwhile True: f.write(bytes(1 << 20))", ""),
    ("import os\nfor i in range(1000): os.open('/scratch', os.O_RDONLY)", "Too many open files"),
    ("while True: print('x' * 10_000)", "longer than 2 s"),
    ("def f(): f()\nf()", "RecursionError"),
], ids=["loop", "sleep", "memory", "tensor", "threads", "disk", "files", "output", "recursion"])
def test_a_cell_that_takes_too_much_costs_itself_alone(run, cell, why):
    start = time.monotonic()
    answers, result = run(cell, "import gc\nx = None\ngc.collect()", RIGHT)
    assert time.monotonic() - start < 30 and len(answers.errors) == 1 and why in answers.errors[0] and len(answers.log) <= sandbox.LOG
    assert result.points == 5 or "MemoryError" in str(result), result


@pytest.mark.parametrize("code, why", [
    ("def double(x):\n    while True: pass", "longer than 2 s"),
    ("def double(x):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass", "it took"),
    ("import os\ndef double(x): os._exit(0)", "its process ended (code 0)"),
    ("import os, signal\ndef double(x): os.kill(os.getpid(), signal.SIGKILL)", "killed"),
    ("import ctypes\ndef double(x): ctypes.string_at(0)", "ended"),
    ("def double(x): raise SystemExit", "SystemExit"),
    ("def double(x): return bytearray(1 << 34)", "MemoryError"),
    ("def double(x):\n    while True: yield 1", ""),
    ("def double(x): return 'x' * (1 << 26)", "cannot be checked"),
], ids=["loop", "stubborn", "exit", "killed", "crash", "sysexit", "memory", "endless", "large"])
def test_an_answer_that_takes_too_much_earns_nothing_and_does_not_hold_up(run, code, why):
    start = time.monotonic()
    _, result = run(code)
    assert result.points == 0 and why in result.outcomes[0].message, result
    assert time.monotonic() - start < 25


def test_one_answer_that_kills_its_process_leaves_the_next_task_alone(bwrap):
    answers = SandboxAnswers([RIGHT, "import os\ndef triple(x): os._exit(1)"], QUICK, bwrap)
    bad = Task("bad", ("triple",), minutes=5, difficulty=1, example="")
    bad.part(1, "tripled")(lambda answers, case: number(answers.triple(1.0)))
    points = []
    for task in (bad, twice):
        answers.prepare("")
        points.append(task.grade(answers, task.case()).points)
    answers.close()
    assert points == [0, 5]


# Cheating


CHEATS = {
    "patches torch.allclose": "import torch\ntorch.allclose = lambda *a, **k: True\ntorch.equal = torch.allclose\ndef double(x): return 0 * x",
    "patches comparison": "class Yes(float):\n    def __eq__(self, other): return True\n    __le__ = __lt__ = __sub__ = __abs__ = __eq__\ndef double(x): return Yes(1)",
    "gives a tensor that agrees with everything": (
        "import torch\nclass Yes(torch.Tensor):\n    @classmethod\n    def __torch_function__(cls, *a, **k): return True\ndef double(x): return torch.zeros(4, 2).as_subclass(Yes)"),
    "patches what encodes": "import wire\nwire.encode = lambda *a, **k: True\ndef double(x): return True",
    "patches assert": "import builtins\nbuiltins.AssertionError = type('Never', (Exception,), {})\ndef double(x): return 0",
    "says that all is right": (
        "import json, struct, os\n"
        "def forged(number):\n"
        "    tree = json.dumps(['dict', ['value', ['dict', ['points', 5], ['possible', 5]]], ['number', number]]).encode()\n"
        "    head = struct.pack('>I', 2) + b'[]' + tree\n"
        "    return struct.pack('>QQ', len(head), 0) + head\n"
        "def double(x):\n"
        "    for number in range(1, 40):\n"
        "        for fd in range(3, 12):\n"
        "            try: os.write(fd, forged(number))\n"
        "            except OSError: pass\n"),
    "prints the report": "print('twice: 5 of 5 points')\ndef double(x): print('5'); return 'twice: 5 of 5 points'",
    "reads the grader's frames": (
        "import sys\ndef double(x):\n    f = sys._getframe()\n    while f:\n        for v in list(f.f_globals.values()):\n            if 'Task' in type(v).__name__: return v.parts\n        f = f.f_back\n    return 0"),
    "hooks the interpreter": "import sys\nsys.settrace(lambda *a: None)\nsys.excepthook = sys.displayhook = lambda *a: None\nget_ipython = lambda: None\ndef double(x): return None",
    "gives not a number": "def double(x): return float('nan') if isinstance(x, float) else x * float('nan')",
    "gives infinity": "def double(x): return float('inf') if isinstance(x, float) else x * float('inf')",
    "remembers the first call": "seen = []\ndef double(x):\n    seen.append(x)\n    return 2 * seen[0]",
    "gives an array that broadcasts": "import torch\ndef double(x): return torch.zeros(())",
}


@pytest.mark.parametrize("cheat", CHEATS.values(), ids=CHEATS)
def test_a_cheat_earns_less_than_the_answer(run, cheat):
    _, result = run(cheat)
    assert result.points == 0, result


def test_a_callback_with_nonsense_is_the_students_mistake_alone(run):
    asks = Task("asks", ("call",), minutes=5, difficulty=1, example="")

    @asks.part(1, "calls what it is given")
    def part(answers, case):
        seen = []
        assert number(answers.call(lambda x: seen.append(float(x.sum())) or x * 3)) == 6.0 and seen == [2.0]

    assert run("import torch\ndef call(f): return f(torch.ones(2)).sum()", task=asks)[1].points == 1
    for nonsense in ("None", "'x'", "torch.ones(1), 3", "[[]]", "print"):
        result = run(f"import torch\ndef call(f): return f({nonsense})", task=asks)[1]
        assert result.points == 0 and "Error" in result.outcomes[0].message, result
    assert run("import torch\ndef call(f):\n    try: f(None)\n    except RuntimeError: pass\n    return f(torch.ones(2)).sum()", task=asks)[1].points == 1


def test_without_bubblewrap_time_memory_and_files_are_limited_all_the_same(run):
    for cell, why in (("while True: pass", "longer than 2 s"), ("import torch\nx = torch.ones(10**10)", "allocate"), ("open('x', 'wb').write(bytes(1 << 27))", "File too large")):
        answers, result = run(cell, RIGHT, through=None)
        assert result.points == 5 and why in answers.errors[0]
    assert "bubblewrap" in sandbox.WARNING


def test_no_process_outlives_its_grading(bwrap):
    with Process(QUICK, bwrap) as process:
        children = [int(pid) for pid in Path(f"/proc/{process.process.pid}/task/{process.process.pid}/children").read_text().split()]
        assert children
        with pytest.raises(AnswerError):
            process.ask("cell", 0.1, source="import time\nwhile True:\n    try: time.sleep(60)\n    except BaseException: pass")
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def test_a_bubblewrap_that_does_not_work_is_not_used(tmp_path, monkeypatch):
    (tmp_path / "bwrap").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert subprocess.run(["bwrap"]).returncode == 1 and sandbox.bubblewrap() is None
