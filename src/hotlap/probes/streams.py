"""Random streams of a loader's workers."""

from __future__ import annotations

import os
import pickle
import random
import sys
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.utils.data import get_worker_info

from hotlap.inside.journal import Journal
from hotlap.loader.fetch_watch import dataset_name
from hotlap.loader.movable import is_generator, reachable
from hotlap.probes.probe import Probe, Roots

if TYPE_CHECKING:
    from hotlap.inside.host import Host
    from hotlap.inside.steps import Recorder


class StreamsProbe(Probe):
    """Looks in each worker where the generators stand that its first fetch draws from.

    The workers write lines of their own, which the parent gathers to one `records.Streams`.
    """

    id: ClassVar[str] = "streams"

    def install(self, host: Host, recorder: Recorder, roots: Roots) -> None:
        """In the workers, which are forked from here."""
        looked: list[bool] = []

        def fetch(fetcher: Any, indices: Any, stock: Callable[[Any, Any], Any]) -> Any:
            worker = get_worker_info()
            if worker is None or looked:
                return stock(fetcher, indices)
            looked.append(True)
            before: dict[int, int] = {}
            host.guarded(f"probe {self.id}", lambda: before.update(_digests(fetcher)))
            batch = stock(fetcher, indices)
            host.guarded(f"probe {self.id}", lambda: _write(worker, fetcher, before))
            return batch

        host.refetch(fetch)


def _write(worker: Any, fetcher: Any, before: dict[int, int]) -> None:
    after = _digests(fetcher)
    pairs = [(digest, after.get(which, digest)) for which, digest in before.items()]
    # The end as well: one that is seeded anew for each sample starts alike and goes on by itself.
    drawn = [zlib.crc32(repr(pair).encode()) for pair in pairs if pair[0] != pair[1]]
    Journal(os.environ.get("HOTLAP_JOURNAL")).write(
        "stream", dataset=dataset_name(fetcher.dataset), epoch=worker.seed - worker.id, worker=worker.id, states=drawn
    )


def _digests(fetcher: Any) -> dict[int, int]:
    """The state of each generator that a fetch may draw from, the global ones among them."""
    numpy = sys.modules.get("numpy")
    own = [thing for thing in reachable(fetcher.dataset, fetcher.collate_fn) if is_generator(thing)]
    states: dict[int, Any] = {
        id(one): one.get_state().tolist() if isinstance(one, torch.Generator) else one for one in own
    }
    states |= {1: random.getstate(), 2: torch.get_rng_state().tolist()}
    states |= {3: numpy.random.get_state()} if numpy is not None else {}
    return {which: zlib.crc32(pickle.dumps(state)) for which, state in states.items()}
