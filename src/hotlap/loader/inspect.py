"""Facts about the script's loaders, from watching them in the observed run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader, IterableDataset, RandomSampler, default_collate

from hotlap.records import Loader

if TYPE_CHECKING:
    from hotlap.inside.host import Host


class LoaderWatch:
    """Which loader feeds the training, how many batches a step takes, and what its dataset allows."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._last = -1
        self._pending = 0
        self._fed: dict[int, int] = {}

    def install(self) -> None:
        """Count the batches that each loader serves."""
        self._host.loaders.serve(self._served)

    def _served(self, iterator: Any, batch: Any) -> Any:
        self._last = self._host.loaders.loader_of(iterator)
        self._pending += 1
        return batch

    def fed_training(self) -> None:
        """A root runs with gradients: the batches handed over last were for training."""
        if self._last >= 0 and self._pending:
            self._fed[self._last] = self._fed.get(self._last, 0) + self._pending
        self._pending = 0

    def epoch_steps(self, steps: int) -> int | None:
        """Training steps in an epoch; None when the loader has no length or there is none."""
        if not self._fed:
            return None
        index = max(self._fed, key=lambda key: self._fed[key])
        loader = self._host.loaders.built.get(index)
        try:
            batches = len(loader)  # type: ignore[arg-type]
        except TypeError:
            return None
        batches_per_step = max(1, round(self._fed[index] / max(1, steps)))
        return max(1, batches // batches_per_step)

    def facts(self) -> list[Loader]:
        """One record per loader, in the order of their construction."""
        return [self._loader(index, loader) for index, loader in sorted(self._host.loaders.built.items())]

    def _loader(self, index: int, loader: DataLoader[Any]) -> Loader:
        dataset = loader.dataset
        iterable = isinstance(dataset, IterableDataset)
        return Loader(
            index=index,
            dataset=f"{type(dataset).__module__}:{type(dataset).__qualname__}",
            length=None if iterable else len(dataset),  # type: ignore[arg-type]
            batch_size=loader.batch_size,
            drop_last=bool(loader.drop_last),
            num_workers=loader.num_workers,
            pin_memory=bool(loader.pin_memory),
            persistent_workers=bool(loader.persistent_workers),
            shuffles=isinstance(getattr(loader, "sampler", None), RandomSampler),
            default_collate=loader.collate_fn is default_collate,
            trains=index in self._fed,
            whole_batch="not inspected",
            draws_randomness=None,
        )


