"""Watches one trial from start to end. A process of its own, standard library only, single-threaded.

It reads its request from standard input, which stays open as the line to the parent: its end means that the parent
is gone, and the trial goes with it. It answers with one JSON line. The environment of the script comes by that pipe
too, so that no file ever holds it.
"""

# Plain system calls here: file names of any bytes, and a start in milliseconds.
# ruff: noqa: PTH118

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from typing import Any

from hotlap.trials import cgroups, keeper, landlock, sandbox, scratch, tree
from hotlap.trials.output import CappedLog
from hotlap.trials.progress import Progress

TICK_S = 0.1
TERM_S = 5.0
"""Between asking a hung script to end and killing it."""
LEFTOVER_S = 0.5
"""The same for what a script leaves behind that ended by itself, and when nobody waits for the answer."""
END_GRACE_S = 0.15
"""After the first end line, for other ranks to write theirs."""
GIVE_UP_S = 30.0
"""After the kill; a process stuck in the kernel is left to itself."""


def main() -> None:
    """Serve the one request on standard input."""
    request = json.loads(_first_line(0))
    sandbox.prctl(keeper.SUBREAPER, 1)
    answer = _Supervisor(request).serve()
    os.write(1, json.dumps(answer).encode() + b"\n")


def _first_line(descriptor: int) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        chunk = os.read(descriptor, 1 << 16)
        if not chunk:
            sys.exit(1)
        data += chunk
    return data


class _Supervisor:
    def __init__(self, request: dict[str, Any]) -> None:
        self._request = request
        self._environment: dict[str, str] = request["environment"]
        self._folder: str = request["folder"]
        self._trial_id: str = request["trial_id"]
        self._parent = os.getppid()
        self._tier = sandbox.Tier(request["tier"])
        self._answer: dict[str, Any] = {"failed": "", "unstartable": "", "status": None, "timer": "", "wall_s": 0.0}
        self._interrupted = False
        self._empty = False
        self._kill_at = float("inf")
        self._killed_at = 0.0
        self._lines = b""
        signal.signal(signal.SIGTERM, self._interrupt)
        signal.signal(signal.SIGINT, self._interrupt)

    def serve(self) -> dict[str, Any]:
        """Run the trial in its sandbox, and say what was seen."""
        try:
            order = self._order(os.path.join(self._folder, scratch.NAME))
            kills = cgroups.oom_kills()
            self._start(order)
            self._watch()
            self._answer["oom_kills"] = cgroups.oom_kills() - kills
        except (OSError, sandbox.SandboxError) as error:
            self._answer["failed"] = str(error)
        finally:
            if self._tier is sandbox.Tier.COPY:
                scratch.clear(self._folder)
        return self._answer

    def _interrupt(self, number: int, frame: object) -> None:
        self._interrupted = True

    def _order(self, copied: str) -> keeper.Order:
        """The trial's command as it is started in its tier."""
        command, cwd = tuple(self._request["command"]), os.path.realpath(self._request["cwd"])
        shielded, writable = self._request["shielded"], [self._folder, *self._request["writable"]]
        environment = {**self._environment, "PWD": self._request["cwd"], "HOTLAP_JOURNAL": self._folder}
        environment[tree.TRIAL_ID] = self._trial_id
        environment.pop("HOTLAP_WRITE_GUARD", None)
        user = False
        if self._tier is sandbox.Tier.OVERLAY:
            user = sandbox.new_namespaces()
        elif self._tier is sandbox.Tier.COPY:
            real = [os.path.realpath(path) for path in shielded]
            # The innermost: a home folder is shielded as well, and is no project.
            project = max((path for path in real if sandbox.is_below(cwd, path)), key=len, default=cwd)
            if project == "/":
                raise sandbox.SandboxError("the working folder is the root of the file system, which cannot be copied")
            copy = scratch.copy(project, copied, writable)
            command = (command[0], *(copy.argument(text, cwd) for text in command[1:]))
            cwd = environment["PWD"] = copy.path(cwd)
            environment |= {**copy.environment(environment), **scratch.variables(copied, writable)}

        def enter() -> None:
            if self._tier is sandbox.Tier.OVERLAY:
                sandbox.enter(shielded, writable, environment=environment, in_user_namespace=user)
            elif self._tier is sandbox.Tier.COPY:
                landlock.confine([*writable, *sandbox.SPECIAL, *sandbox.scratch_folders(environment)])

        namespaces = self._tier is sandbox.Tier.OVERLAY
        return keeper.Order(command, cwd, environment, self._trial_id, namespaces, enter, self._request["terminal"])

    def _start(self, order: keeper.Order) -> None:
        control, self._control = os.pipe()
        self._report, report = os.pipe()
        self._output, output = os.pipe()
        self._began = time.monotonic()
        self._keeper = os.fork()
        if self._keeper == 0:
            for descriptor in (self._control, self._report, self._output):
                os.close(descriptor)
            keeper.keep(order, control, report, output)
        for descriptor in (control, report, output):
            os.close(descriptor)
        os.set_blocking(self._output, False)
        self._namespaces = order.namespaces
        self._progress = Progress(self._folder)
        self._log = CappedLog(os.path.join(self._folder, "output.log"))

    def _watch(self) -> None:
        """Drain, look and decide until nobody of the trial is left."""
        poller = select.poll()
        for descriptor in (0, self._report, self._output):
            poller.register(descriptor, select.POLLIN)
        looked_at = 0.0
        while not self._empty:
            pause = min(TICK_S, max(self._kill_at - time.monotonic(), 0.005))
            for descriptor, _ in poller.poll(pause * 1000):
                if not self._read(descriptor):
                    poller.unregister(descriptor)
            now = time.monotonic()
            if now - looked_at >= TICK_S / 2 or self._empty:
                looked_at = now
                self._progress.poll()
                self._decide(now)
        self._finish()

    def _read(self, descriptor: int) -> bool:
        """Take what is ready at one of the pipes; False at its end."""
        try:
            data = os.read(descriptor, 1 << 18)
        except BlockingIOError:
            return True
        if descriptor == 0:
            self._interrupted = self._interrupted or not data
        elif descriptor == self._output:
            self._log.write(data)
        else:
            self._empty = self._empty or not data  # the keeper died
            self._hear(data)
        return bool(data)

    def _hear(self, data: bytes) -> None:
        *lines, self._lines = (self._lines + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "status" in message:
                self._answer["wall_s"] = time.monotonic() - self._began
            self._empty = self._empty or message.pop("empty", False) or "failed" in message
            self._answer.update(message)

    def _decide(self, now: float) -> None:
        progress, exited = self._progress, self._answer["status"] is not None
        if self._killed_at:
            self._insist(now)
        elif now >= self._kill_at or progress.denied:
            self._order_end(0.0, now)
        elif progress.end is not None:
            self._order_end(0.0 if exited else END_GRACE_S, now)
        elif self._interrupted or os.getppid() != self._parent:
            self._interrupted = True
            self._order_end(LEFTOVER_S, now)
        elif exited:
            self._order_end(LEFTOVER_S, now)
        elif timer := self._expired(now):
            self._answer["timer"] = self._answer["timer"] or timer
            self._order_end(TERM_S, now)

    def _expired(self, now: float) -> str:
        quiet = now - self._progress.grown_at
        if now - self._began > self._request["total_s"]:
            return f"not finished after {self._request['total_s']:g} s"
        if not self._progress.stepping:
            return f"no training step within {self._request['startup_s']:g} s" * (quiet > self._request["startup_s"])
        return f"no progress for {self._request['quiet_s']:g} s" * (quiet > self._request["quiet_s"])

    def _order_end(self, grace_s: float, now: float) -> None:
        """Ask all to end and kill them after the grace; kill at once without one."""
        if grace_s and self._kill_at == float("inf"):
            self._kill_at = now + grace_s
            if grace_s != END_GRACE_S:  # a rank that still writes its end line must not be disturbed
                self._tell(b"T")
        elif not grace_s and not self._killed_at:
            self._killed_at = now
            self._tell(b"K")
        self._kill_at = min(self._kill_at, now + grace_s)

    def _insist(self, now: float) -> None:
        """The keeper itself is stuck or stopped."""
        if now - self._killed_at > TERM_S:
            os.kill(self._keeper, signal.SIGKILL)
        if now - self._killed_at > GIVE_UP_S:
            self._answer["failed"] = "a process of the trial cannot be killed"
            self._empty = True

    def _tell(self, letter: bytes) -> None:
        try:
            os.write(self._control, letter)
        except BrokenPipeError:
            pass

    def _finish(self) -> None:
        """Nobody is left: read what is still in the pipes, and put it all together."""
        os.close(self._control)
        if not self._answer["failed"]:
            os.waitpid(self._keeper, 0)  # with a PID namespace's init, everybody in it is gone
        if not self._namespaces:
            tree.sweep(self._trial_id, os.getpid())
        while (data := self._rest()) != b"":
            self._log.write(data)
        self._log.close()
        self._progress.poll()
        progress, answer = self._progress, self._answer
        answer["wall_s"] = answer["wall_s"] or time.monotonic() - self._began
        answer |= {"hello": progress.hello, "stepping": progress.stepping, "end": progress.end}
        answer["confined"] = self._tier is sandbox.Tier.COPY
        answer |= {"denied": progress.denied, "interrupted": self._interrupted}

    def _rest(self) -> bytes:
        try:
            return os.read(self._output, 1 << 18)
        except BlockingIOError:
            return b""
