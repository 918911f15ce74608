"""A forked copy of this process that works ahead of it, and hands over what it makes through memory that both see.

The memory has no name and no descriptor, so that nothing is left of it when the processes end, however they end.
"""

from __future__ import annotations

import gc
import mmap
import os
import signal
import socket
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch.multiprocessing import _prctl_pr_set_pdeathsig  # type: ignore[attr-defined]

from hotlap.loader.packing import Packed, unpack
from hotlap.loader.states import States

_AHEAD = 3
"""Pieces of work that may wait to be taken."""
_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
"""Those that reach a whole group of processes are for the process that trains to answer."""
_LONGEST_REASON = 500


class StoppedError(Exception):
    """The helper makes no more, in plain words why."""


class Helper:
    """One forked process.

    Args:
        work: Called there again and again; StopIteration and any other exception end the helper.
        piece_bytes: The most that a piece of work may take, packed.
    """

    def __init__(self, work: Callable[[], Packed], piece_bytes: int) -> None:
        self._piece_bytes = -(-piece_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self._memory = memoryview(mmap.mmap(-1, _AHEAD * self._piece_bytes))
        self._taken = 0
        self._owner = os.getpid()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        states = States()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            self._pid = os.fork()
            if not self._pid:
                self._live(work, theirs, states)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def take(self, limit_s: float) -> Any:
        """The next piece of work, once it is there.

        Raises:
            StoppedError: There will be none, or none came within the limit.
        """
        self._socket.settimeout(limit_s)
        try:
            message = self._socket.recv(1 + _LONGEST_REASON)
        except TimeoutError:
            raise StoppedError(f"the helper process did not answer for {limit_s:.0f} s") from None
        except OSError as error:
            raise StoppedError(f"the helper process cannot be reached: {error}") from None
        if message[:1] != b"+":
            raise StoppedError(message[1:].decode(errors="replace") or "the helper process was killed")
        piece = unpack(self._piece(self._taken))
        self._taken += 1
        self._send(self._socket, b"+")
        return piece

    def close(self) -> None:
        """End the process; in a copy of the process that forked it, nothing happens."""
        if not self._pid or os.getpid() != self._owner:
            return
        pid, self._pid = self._pid, 0
        self._socket.close()
        try:
            if os.waitpid(pid, os.WNOHANG) == (0, 0):  # still there, so the number is still its own
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        except ChildProcessError:  # the script waits for all children
            pass

    def _piece(self, number: int) -> memoryview:
        start = number % _AHEAD * self._piece_bytes
        return self._memory[start : start + self._piece_bytes]

    @staticmethod
    def _send(to: socket.socket, message: bytes) -> None:
        try:
            to.send(message)
        except OSError:  # the other side is gone, as its next word will show
            pass

    # -- in the helper

    def _live(self, work: Callable[[], Packed], parent: socket.socket, states: States) -> NoReturn:
        """All of the life of the forked process, which must not come back into the training."""
        try:
            for number in signal.valid_signals() & _SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            _prctl_pr_set_pdeathsig(signal.SIGKILL)
            self._socket.close()
            gc.freeze()  # what was garbage before is the training's to finalize
            torch.set_num_threads(1)  # the threads of the parent's pool are not here, and to wait for them is to hang
            states.restore()  # Python seeds `random` anew in a forked process
            self._produce(work, parent)
        except BaseException as reason:
            text = str(reason) if isinstance(reason, StoppedError) else f"fetching raised {type(reason).__name__} there"
            self._send(parent, b"-" + text.encode(errors="replace")[:_LONGEST_REASON])
            while parent.recv(1):  # to end with words unread would lose the parent what was sent to it
                pass
        finally:
            os.kill(os.getpid(), signal.SIGKILL)  # no exit handler and no buffer of the training's runs twice
        raise SystemError

    def _produce(self, work: Callable[[], Packed], parent: socket.socket) -> None:
        made = 0
        while os.getppid() == self._owner:
            packed = work()
            if packed.nbytes > self._piece_bytes:
                raise StoppedError("a batch is much larger than the first")
            if made >= _AHEAD and not parent.recv(1):
                return
            packed.write(self._piece(made))
            self._send(parent, b"+")
            made += 1
