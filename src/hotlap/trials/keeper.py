"""The first process of a trial's tree: enters the sandbox, starts the script, adopts orphans, ends everybody.

In a PID namespace it is the init, so that killing it kills all; elsewhere it is a sub-reaper and goes by the process
table. It takes one-letter orders over a pipe (T: ask all to end, K: kill all) and answers in JSON lines. The end of
that pipe, when the supervisor died, is an order to kill.
"""

from __future__ import annotations

import json
import os
import select
import signal
import termios
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from hotlap.trials import sandbox, tree

PDEATHSIG, SUBREAPER = 1, 36  # of prctl(2)
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP)


@dataclass(frozen=True)
class Order:
    """What to start."""

    command: tuple[str, ...]
    cwd: str
    environment: dict[str, str]
    trial_id: str
    namespaces: bool
    """It runs as the first process of new namespaces."""
    enter: Callable[[], None]
    """Builds the sandbox."""
    terminal: tuple[int, int] | None = None
    """Columns and lines of the terminal that the user sits at; None without one."""


def keep(order: Order, control: int, report: int, output: int) -> NoReturn:
    """Run the trial to its end; never returns."""
    code = 1
    try:
        sandbox.prctl(PDEATHSIG, signal.SIGKILL)
        sandbox.prctl(SUBREAPER, 1)
        for source, target in ((_input(order.terminal), 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        os.close(output)
        order.enter()
        _Keeper(order, control, report).run()
        code = 0
    except (sandbox.SandboxError, OSError) as error:
        _tell(report, failed=str(error))
    except BaseException as error:
        _tell(report, failed=repr(error))
    finally:
        os._exit(code)


def _input(terminal: tuple[int, int] | None) -> int:
    """Standard input that ends at once: a terminal if the user has one, for scripts ask how wide it is."""
    if terminal is None:
        return os.open("/dev/null", os.O_RDWR)
    _, own = os.openpty()  # the other end stays open as long as this process lives
    modes = termios.tcgetattr(own)
    modes[3] &= ~(termios.ICANON | termios.ECHO)
    modes[6][termios.VMIN] = modes[6][termios.VTIME] = 0  # a read finds nothing, and does not wait
    termios.tcsetattr(own, termios.TCSANOW, modes)
    termios.tcsetwinsize(own, (terminal[1], terminal[0]))
    return own


def _tell(report: int, **fields: Any) -> None:
    try:
        os.write(report, json.dumps(fields).encode() + b"\n")
    except OSError:  # nobody listens any more
        pass


class _Keeper:
    def __init__(self, order: Order, control: int, report: int) -> None:
        self._order = order
        self._control = control
        self._report = report
        self._order_to_end = 0
        self._wake, wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def run(self) -> None:
        child = self._start()
        _tell(self._report, started=child)
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(self._wake, select.POLLIN)
        while not self._reap(child):
            # No idle wake-ups while the script is timed; when ending, newcomers are looked for again and again.
            ready = {descriptor for descriptor, _ in poller.poll(20 if self._order_to_end == signal.SIGKILL else None)}
            if self._wake in ready:
                os.read(self._wake, 4096)
            if self._control in ready:
                letters = os.read(self._control, 64)
                self._obey(letters)
                if not letters:
                    poller.unregister(self._control)
            if self._order_to_end == signal.SIGKILL:
                self._signal(signal.SIGKILL)
        if self._order_to_end and not self._order.namespaces:
            tree.sweep(self._order.trial_id, os.getpid())  # a daemon that somebody else adopted
        _tell(self._report, empty=True)

    def _obey(self, letters: bytes) -> None:
        if letters.endswith(b"T"):
            self._order_to_end = signal.SIGTERM
            self._signal(signal.SIGTERM)
        else:  # K, or the supervisor is gone
            self._order_to_end = signal.SIGKILL

    def _signal(self, number: int) -> None:
        if not self._order.namespaces:
            tree.send(tree.members(self._order.trial_id, os.getpid(), spare=(os.getppid(),)), number)
            return
        try:
            os.kill(-1, number)
        except ProcessLookupError:
            pass

    def _reap(self, child: int) -> bool:
        """Bury who died; whether nobody is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == child:
                _tell(self._report, status=status)

    def _start(self) -> int:
        keeper = os.getpid()
        child = os.fork()
        if child:
            return child
        try:
            os.setsid()
            sandbox.prctl(PDEATHSIG, signal.SIGKILL)
            if os.getppid() != keeper:
                os._exit(1)
            signal.set_wakeup_fd(-1)
            for number in _RESTORED:
                signal.signal(number, signal.SIG_DFL)
            os.chdir(self._order.cwd)
            os.execvpe(self._order.command[0], self._order.command, self._order.environment)
        except OSError as error:
            _tell(self._report, unstartable=f"{self._order.command[0]}: {error.strerror}")
        finally:
            os._exit(127)
