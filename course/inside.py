"""A student's process: runs the cells of a notebook, then answers calls, with data alone going in and out.

This file and wire.py are all of the course kit that the sandbox holds. Requests come on standard input, replies go to what was
standard output; what the student prints goes to standard error, which the grader reads and shortens. Nothing here is trusted by the
grader: whoever takes this process over can send values, and values are what is graded.
"""

import ast
import os
import re
import signal
import sys
from typing import Any

import wire

MAGIC = re.compile(r"^[ \t]*[%!].*$", re.M)


class TimeLimit(BaseException):
    """A cell or a call has had its time. No `except Exception` of a student catches it."""


class Peer:
    """The grader, as seen from here: functions that it gave can be called, functions given to it are kept."""

    def __init__(self) -> None:
        self.requests, self.replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        self.given: list = []

    def give(self, function: Any) -> int:
        self.given.append(function)
        return len(self.given) - 1

    def take(self, number: int) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.send({"callback": number, "args": list(args), "kwargs": kwargs})
            answer = self.receive()
            if "error" in answer:
                raise RuntimeError(answer["error"])
            return answer["value"]

        return call

    def send(self, message: dict) -> None:
        wire.send(self.replies, message, self.give)

    def receive(self) -> dict:
        return wire.receive(self._read, self.take)

    def _read(self, size: int) -> bytes:
        data = self.requests.read(size)
        if len(data) < size:
            sys.exit()          # the grader is gone
        return data


def limited(seconds: float, function: Any, *args: Any, **kwargs: Any) -> Any:
    """function(*args), interrupted after that time, and again every second where the interruption is caught."""

    def stop(*_: Any) -> None:
        raise TimeLimit(f"it took longer than {seconds:g} s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        return function(*args, **kwargs)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def run(cell: str, namespace: dict) -> None:
    """Execute a cell; lines of magic are left out, for no kernel is there to serve them."""
    try:
        tree = ast.parse(cell)
    except SyntaxError:
        tree = ast.parse(MAGIC.sub("", cell))
    exec(compile(tree, "<cell>", "exec"), namespace)


def described(error: BaseException) -> str:
    if isinstance(error, NotImplementedError) and not str(error):
        return "there is no answer yet"
    if isinstance(error, TimeLimit):
        return str(error)
    return f"your code raised {type(error).__name__}: {str(error)[:300]}"


def answer(request: dict, namespace: dict, peer: Peer) -> dict:
    """The reply to one request."""
    what, seconds = request["do"], request["seconds"]
    try:
        if what == "cell":
            limited(seconds, run, request["source"], namespace)
            return {"value": None}
        if what == "get":
            if request["name"] not in namespace:
                return {"error": f"`{request['name']}` is not defined"}
            return {"value": namespace[request["name"]]}
        function = peer.given[request["function"]]
        value = limited(seconds, function, *request["args"], **request["kwargs"])
        if type(value) in wire.LAZY or isinstance(value, wire.LAZY):
            value = limited(seconds, wire._first, value)
        return {"value": value}
    except BaseException as error:  # noqa: BLE001  whatever a student's code raises is its answer
        return {"error": described(error), "late": isinstance(error, TimeLimit)}


def main() -> None:
    peer, namespace = Peer(), {"__name__": "__main__"}
    peer.send({"ready": True})
    while True:
        request = peer.receive()
        reply = answer(request, namespace, peer) | {"number": request["number"]}
        try:
            peer.send(reply)
        except wire.WireError as error:
            peer.send({"error": f"your answer gave back what cannot be checked: {error}", "number": request["number"]})


if __name__ == "__main__":
    main()
