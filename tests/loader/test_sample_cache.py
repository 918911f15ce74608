"""Batches with cached samples through real loaders: contents, order, generators, errors, changes, bounds."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler, Subset, default_collate

from hotlap.inside.host import Host
from hotlap.loader.cached import Cached
from hotlap.loader.compare import difference
from hotlap.loader.sample_cache import SampleCaches, why_not_cached
from hotlap.loader.tree import UnfitError
from loader import cacheable
from loader.cacheable import (
    AUGMENT,
    FETCHED,
    Backwards,
    Compose,
    ComposeModule,
    Crop,
    Mixed,
    Module,
    Photos,
    Progressive,
    Resize,
    Sounds,
    ToTensor,
    age,
)


@pytest.fixture(autouse=True)
def _pays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """These samples are small: whether keeping them pays is no question here, nor is the speed of thread pools."""
    monkeypatch.setattr("hotlap.loader.cached._WORTH", 0.0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return cacheable.make_files(tmp_path_factory.mktemp("files"))


def generators() -> tuple[Any, ...]:
    """The states of the global generators."""
    return torch.get_rng_state(), random.getstate(), str(np.random.get_state())


def epochs(make: Callable[[], DataLoader[Any]], count: int = 3, stop: int = 99) -> list[Any]:
    """Batches of some epochs, with the generators after each, and errors in place of batches."""
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    loader, seen = make(), []
    for _ in range(count):
        iterator = iter(loader)
        for number in range(stop):
            try:
                seen.append((next(iterator), generators()))
            except StopIteration:
                break
            except Exception as error:
                seen.append(f"{type(error).__name__}: {str(error).splitlines()[-1]}")
            if number == stop:
                break
        seen.append(generators())
    return seen


def caching(host: Host, capacity: int = 1 << 22) -> SampleCaches:
    """Put the cache in."""
    caches = SampleCaches(host, "sample-cache", capacity)
    caches.install()
    return caches


def only(caches: SampleCaches) -> Cached:
    """The one cache that there is."""
    (cached,) = caches._caches.values()
    assert cached is not None
    return cached


LOADERS: dict[str, Callable[[list[str]], DataLoader[Any]]] = {
    "whole": lambda f: DataLoader(Sounds(f), 4),
    "shuffled": lambda f: DataLoader(Sounds(f), 5, shuffle=True, drop_last=True),
    "own generator": lambda f: DataLoader(Sounds(f), 5, shuffle=True, generator=torch.Generator().manual_seed(2)),
    "replacement": lambda f: DataLoader(Sounds(f), 4, sampler=RandomSampler(Sounds(f), replacement=True)),
    "subset of a subset": lambda f: DataLoader(Subset(Subset(Sounds(f), [3, 7, 1, 9]), [2, 0, 1, 3]), 2, shuffle=True),
    "every kind of value": lambda f: DataLoader(cacheable.Owned(f), 4, collate_fn=list),
    "every kind, collated": lambda f: DataLoader(Mixed(f), 4),
    "own collation": lambda f: DataLoader(Photos(f, Compose([Resize(), Crop()])), 4, collate_fn=pixels),
    "single samples": lambda f: DataLoader(Photos(f, ToTensor()), batch_size=None),
    "augmented": lambda f: DataLoader(Photos(f, Compose(AUGMENT)), 4, shuffle=True),
    "random first": lambda f: DataLoader(Photos(f, Compose([Crop(), ToTensor()])), 4),
    "in place": lambda f: DataLoader(Photos(f, Compose([ToTensor(), cacheable.Invert()])), 4),
    "a module of transforms": lambda f: DataLoader(Photos(f, ComposeModule(list(AUGMENT))), 4, shuffle=True),
    "a sequence of modules": lambda f: DataLoader(
        Photos(f, torch.nn.Sequential(*map(Module, AUGMENT))), 4, shuffle=True
    ),
    "one transform": lambda f: DataLoader(Photos(f, lambda image: ToTensor()(Crop()(image))), 4),
    "backwards": lambda f: DataLoader(Photos(f, Backwards([ToTensor(), Crop(), Resize()])), 4),
    "no draws": lambda f: DataLoader(Photos(f, Compose([Resize(), ToTensor()])), 4),
}


def pixels(samples: list[Any]) -> list[Any]:
    """Images as bytes, for those themselves cannot be compared."""
    return [(image.mode, image.size, image.tobytes(), target) for image, target in samples]


class Ragged(Dataset[Any]):
    """Rows of another length in every third place."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Any:
        x = torch.arange(3.0 + (index % 3 == 2))
        return x, [index, float(index)], {"name": f"row {index}", "half": x.half() * index, "one": x[0] + 1}


def test_a_batch_that_is_kept_whole_is_copied_at_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """No sample of it is made by itself."""
    dataset = Ragged()
    caches, loader = caching(host), DataLoader(Subset(dataset, [7, 1, 3, 0, 4, 9]), 2)
    expected = [list(loader) for _ in range(3)][-1]
    monkeypatch.setattr("hotlap.loader.samples.Memory.thawed", None)

    assert not any(difference(*two) for two in zip(expected, list(loader), strict=True))
    assert not only(caches).closed


class Permuted(Dataset[Any]):
    """An image that is kept by pixels, a spectrogram that is kept by times, and tensors of every odd kind."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        pixels = torch.arange(60.0).reshape(4, 5, 3) + index
        odd = [pixels[0, 0].to(kind) for kind in (torch.uint16, torch.uint32, torch.bool, torch.complex64)]
        return (
            pixels.permute(2, 0, 1),
            pixels[0].t(),
            odd,
            pixels[0, 0, 0].clone(),
            pixels[:0],
            pixels[:1].expand(3, 5, 3),
        )


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_permuted_samples_have_the_layout_of_stock(workers: int, host: Host) -> None:
    """Which is not the same in a worker (S18)."""

    def make() -> DataLoader[Any]:
        return DataLoader(Permuted(), 2, num_workers=workers)

    expected = epochs(make)
    caches = caching(host)

    assert difference(expected, epochs(make)) == ""
    assert not only(caches).closed


@pytest.mark.parametrize("batch", [2, 3])
def test_what_torch_cannot_stack_fails_as_ever(batch: int, host: Host) -> None:
    """And batches of equal rows, a list of numbers beside them, come out the same."""
    expected = epochs(lambda: DataLoader(Ragged(), batch))
    caching(host)

    assert difference(expected, epochs(lambda: DataLoader(Ragged(), batch))) == ""


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("stop", [2, 99], ids=["broken off", "whole"])
def test_same_batches_and_generators(name: str, stop: int, files: list[str], host: Host) -> None:
    """Batches, order and every generator after each batch and each epoch (S1, S2, S4, S17, S18), and it is used."""
    expected = epochs(lambda: LOADERS[name](files), stop=stop)
    caches = caching(host)

    assert difference(expected, epochs(lambda: LOADERS[name](files), stop=stop)) == ""
    assert only(caches).closed == ""
    assert only(caches).hits > 0


@pytest.mark.parametrize("transform", [None, Compose(AUGMENT)], ids=["whole", "prefix"])
def test_workers_share_one_store(transform: Any, files: list[str], host: Host) -> None:
    """What one epoch's workers fetched serves the next epoch's, in whichever worker, with the streams of stock."""

    def make() -> DataLoader[Any]:
        dataset = Sounds(files) if transform is None else Photos(files, transform)
        return DataLoader(dataset, 2, shuffle=True, num_workers=2)

    expected = epochs(make)
    caches = caching(host)
    FETCHED.value = 0

    assert difference(expected, epochs(make)) == ""
    compared = 2 * 2 * 2 * 2  # batches at the start, of two samples, in two workers, in the two later epochs
    assert FETCHED.value == len(files) + compared
    assert only(caches).store.used > 0


def test_is_filled_once_and_then_serves(files: list[str], host: Host) -> None:
    """Every sample is made once, but for the comparisons: the first two batches from the cache, and one in 64."""
    caching(host)
    loader = DataLoader(Sounds(files), 1)
    FETCHED.value = 0

    for _ in range(7):
        list(loader)

    assert FETCHED.value == 12 + 2 + 1


def test_samples_are_private(files: list[str], host: Host) -> None:
    """Edits in place, resizing and keeping a whole epoch reach neither the cache nor a later batch (S19, S20)."""
    caching(host)
    loader = DataLoader(Sounds(files), batch_size=None)
    before = [sample["x"].clone() for sample in loader]
    for _ in range(4):
        for sample in list(loader):
            sample["x"].fill_(7)
            sample["x"].resize_(9999)

    assert all(torch.equal(sample["x"], x) for sample, x in zip(loader, before, strict=True))
    assert all(sample["x"].untyped_storage().nbytes() == x.nbytes for sample, x in zip(loader, before, strict=True))


# -- changes


def copied(files: list[str], folder: Path) -> list[str]:
    """Files of the test's own."""
    made = []
    for file in files:
        for kind in ("jpg", "wav", "npy"):
            made.append(folder / f"{Path(file).name}.{kind}")
            made[-1].write_bytes(Path(f"{file}.{kind}").read_bytes())
            age(made[-1])
    return [str(folder / Path(file).name) for file in files]


@pytest.mark.parametrize("make", [lambda f: Photos(f, Compose(AUGMENT)), Sounds], ids=["prefix", "whole"])
def test_changed_and_deleted_files_are_as_stock_has_them(
    make: Any, files: list[str], tmp_path: Path, host: Host
) -> None:
    """In the middle of an epoch: the new content, and the system's own error, and all goes on after it (S27, S31)."""

    def run(folder: Path) -> list[Any]:
        folder.mkdir()
        own = copied(files, folder)

        def disturbed() -> DataLoader[Any]:
            return DataLoader(make(own), 2, collate_fn=disturb)

        def disturb(samples: list[Any]) -> Any:
            calls.append(1)
            if len(calls) == 14:  # in the third epoch
                for kind in ("jpg", "wav"):
                    Path(f"{own[4]}.{kind}").write_bytes(Path(f"{own[9]}.{kind}").read_bytes())
                    Path(f"{own[7]}.{kind}").unlink()
            return torch.utils.data.default_collate(samples)

        calls: list[int] = []
        return epochs(disturbed, count=5)

    expected = run(tmp_path / "stock")
    caches = caching(host)
    served = run(tmp_path / "cached")

    text = [str(part).replace("cached", "stock") if isinstance(part, str) else part for part in served]
    assert difference(expected, text) == ""
    assert sum(isinstance(part, str) and "FileNotFoundError" in part for part in expected) == 3
    assert only(caches).hits > 20


def test_a_file_of_this_moment_is_not_kept(files: list[str], tmp_path: Path, host: Host) -> None:
    """It could be written again within the same tick of the clock."""
    own = copied(files, tmp_path)
    for file in own:
        os.utime(f"{file}.wav", (2**33, 2**33))
    caches = caching(host)
    list(DataLoader(Sounds(own), 4))

    assert only(caches).store.used == 0
    assert "being written" in only(caches).misfit


CHANGES: dict[str, Callable[[Any], Any]] = {
    "another transform": lambda dataset: vars(dataset).update(transform=ToTensor()),
    "a setting of a transform": lambda dataset: vars(dataset.transform.transforms[0]).update(size=(16, 16)),
    "one transform more": lambda dataset: dataset.transform.transforms.insert(1, Resize((30, 30))),
    "an item of a list": lambda dataset: dataset.samples.__setitem__(2, dataset.samples[3]),
    "a shorter list": lambda dataset: dataset.samples.reverse(),
}


@pytest.mark.parametrize(("name", "workers"), [*((name, 0) for name in CHANGES), ("an item of a list", 1)])
def test_changes_of_the_dataset_are_seen(name: str, workers: int, files: list[str], host: Host) -> None:
    """Between epochs the script may change what its dataset gives (S13)."""

    def run() -> list[Any]:
        dataset = Photos(files, Compose([Resize(), Crop(), ToTensor()]))
        loader = DataLoader(dataset, 12, num_workers=workers)
        torch.manual_seed(3)
        seen = [batch for _ in range(4) for batch in loader]  # the first comparisons are over
        CHANGES[name](dataset)
        return seen + [batch for _ in range(2) for batch in loader]

    expected = run()
    caching(host)

    assert difference(expected, run()) == ""


def test_a_change_in_the_middle_of_an_epoch_is_seen(files: list[str], host: Host) -> None:
    """At W=0 the next batch has it."""

    def run() -> list[Any]:
        dataset = Sounds(files)
        loader = DataLoader(dataset, 1)
        seen = [batch for _ in range(3) for batch in loader]
        for number, batch in enumerate(loader):
            seen.append(batch)
            if number == 4:
                dataset.samples = list(reversed(dataset.samples))
        return seen

    expected = run()
    caching(host)

    assert difference(expected, run()) == ""


def test_what_was_kept_serves_again_when_a_change_is_taken_back(
    files: list[str], host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script may switch its dataset to evaluation and back in every epoch; it is said once."""
    caches = caching(host)
    dataset = Photos(files, Compose([Resize(), ToTensor()]))
    loader = DataLoader(dataset, 4)
    hits = []
    for transform in [dataset.transform, ToTensor()] * 2:
        dataset.transform = transform
        list(loader)
        hits.append(only(caches).hits)

    assert hits == [0, 0, 12, 12]
    assert capsys.readouterr().err.count("the script changed Photos") == 1


def test_a_global_variable_counts(files: list[str], host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain one that `__getitem__` names."""
    caching(host)
    loader = DataLoader(Sounds(files), 12)
    before = [next(iter(loader))["x"] for _ in range(5)]
    monkeypatch.setattr(cacheable, "OFFSET", 500.0)

    assert not torch.equal(next(iter(loader))["x"], before[-1])


def test_so_does_one_behind_a_transform(files: list[str], host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which a function names that the transform calls: the batch after the change has it, comparison or not."""
    caching(host)
    loader = DataLoader(Photos(files, Compose([Progressive(), ToTensor()])), 12)
    before = [next(iter(loader))[0] for _ in range(5)]
    monkeypatch.setattr(cacheable, "SIDE", 20)

    assert before[-1].shape[-1] == 16
    assert next(iter(loader))[0].shape[-1] == 20


class Switched(Dataset[Any]):
    """By everything that a script may switch a dataset by."""

    scale = 1.0

    def __init__(self) -> None:
        self.large = np.zeros(1 << 18)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        sum(range(20_000))  # worth keeping
        offset = OPTIONS.offset + SIZES[0] + NAMED["offset"] + self.large[0]
        return torch.full((3,), index * self.scale + offset), NOTHING is None


OPTIONS, SIZES, NAMED, NOTHING = SimpleNamespace(offset=0.0), [0.0], {"offset": 0.0}, None


@pytest.mark.parametrize(
    "change",
    [
        lambda patch, dataset: patch.setattr(OPTIONS, "offset", 9.0),
        lambda patch, dataset: patch.setitem(globals(), "SIZES", [9.0]),
        lambda patch, dataset: patch.setitem(NAMED, "offset", 9.0),
        lambda patch, dataset: patch.setitem(globals(), "NOTHING", 1),
        lambda patch, dataset: patch.setattr(Switched, "scale", 2.0),
        lambda patch, dataset: dataset.large.fill(9.0),
    ],
    ids=["attribute of a global", "list", "dict", "None", "attribute of the class", "large array"],
)
def test_what_switches_a_dataset_counts(change: Any, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch after the change has it, comparison or not (S13)."""
    dataset = Switched()
    caches, loader = caching(host), DataLoader(dataset, 4)
    for _ in range(5):
        list(loader)
    assert only(caches).hits
    change(monkeypatch, dataset)

    assert difference(default_collate([dataset[i] for i in range(4)]), next(iter(loader))) == ""


# -- what is left alone


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (cacheable.Spectrograms, "fetching draws randomness"),
        (lambda f: cacheable.AfterIt(f, Compose(AUGMENT)), "outside of its transform"),
        (lambda f: cacheable.Counting(f, ToTensor()), "fetching changes the dataset"),
        (lambda f: cacheable.Counting(f, Compose([Crop(), ToTensor()])), "fetching changes the dataset"),
    ],
    ids=["draws", "draws after", "counts", "counts and draws"],
)
def test_what_cannot_be_cached_is_as_stock_has_it(
    make: Any, reason: str, files: list[str], host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first draw or change ends it, the batch in which it came is stock's, and that is said once (S5, S12, S40)."""
    expected = epochs(lambda: DataLoader(make(files), 4, shuffle=True))
    caches = caching(host)

    assert difference(expected, epochs(lambda: DataLoader(make(files), 4, shuffle=True))) == ""
    assert reason in only(caches).closed
    assert only(caches).hits == 0
    said = capsys.readouterr().err
    assert said.count(f"sample-cache: torch fetches the samples of {type(make(files)).__name__} itself, because ") == 1


@pytest.mark.parametrize("kind", [cacheable.Urandom, cacheable.Clock])
def test_a_difference_turns_it_off_loudly(
    kind: Any, files: list[str], host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    """Randomness that moves no generator is found by the comparison, before anything of the cache is served."""
    caches = caching(host)
    loader = DataLoader(kind(files), 4)
    seen = [number for _ in range(3) for batch in loader for number in batch.tolist()]

    assert len(set(seen)) == 36
    assert only(caches).store.off
    assert "sample-cache could not be applied" in capsys.readouterr().err


def test_a_worker_turns_it_off_in_all_processes(
    files: list[str], host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the trial's journals have it."""
    monkeypatch.setenv("HOTLAP_JOURNAL", str(tmp_path))
    caches = caching(host)
    loader = DataLoader(cacheable.Urandom(files), 4, num_workers=1)
    seen = [number for _ in range(3) for batch in loader for number in batch.tolist()]

    assert len(set(seen)) == 36
    assert only(caches).store.off
    assert "knob-failed" in "".join(path.read_text() for path in tmp_path.glob("journal-*.jsonl"))


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_are_the_users(workers: int, files: list[str], host: Host) -> None:
    """Type and text at sample j, in the first epoch and in later ones, and the batches after it (S31)."""

    def make() -> DataLoader[Any]:
        return DataLoader(cacheable.Broken(files), 2, num_workers=workers)

    expected = epochs(make, count=2)
    caching(host)

    assert difference(expected, epochs(make, count=2)) == ""
    assert sum(isinstance(part, str) and part.startswith("KeyError") for part in expected) == 2


def test_the_bound_ends_the_filling(files: list[str], host: Host) -> None:
    """What is there is served, the rest is fetched as ever, and nothing is evicted."""
    expected = epochs(lambda: DataLoader(Photos(files, Compose(AUGMENT)), 4))
    caches = caching(host, capacity=8192)
    FETCHED.value = 0

    assert difference(expected, epochs(lambda: DataLoader(Photos(files, Compose(AUGMENT)), 4))) == ""
    assert 0 < only(caches).store.used <= 8192
    assert 12 < FETCHED.value < 36
    assert sum(bool(only(caches).store.find(index)) for index in range(12)) < 12


def test_little_free_memory_ends_the_filling(files: list[str], host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training may have come to need what was free when the store was made."""
    monkeypatch.setattr("hotlap.loader.store._LOOK_BYTES", 4096)
    caches = caching(host)
    loader = DataLoader(Sounds(files), 4)
    next(iter(loader))
    monkeypatch.setattr("hotlap.loader.store.room", lambda: (0, "nothing"))
    list(loader)

    assert sum(bool(only(caches).store.find(index)) for index in range(12)) < 12


def test_a_dataset_that_is_gone_frees_its_memory(files: list[str], host: Host) -> None:
    """A script may build another one for every fold."""
    caches = caching(host)
    opened = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        list(DataLoader(Sounds(files), 4))

    assert len(caches._caches) == 1
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) <= opened + 2


def test_in_a_trial_it_is_full_before_the_first_step(files: list[str], host: Host) -> None:
    """The steps that are timed are those of a later epoch; no generator has moved (see the knob)."""
    host.task["purpose"] = "time"
    caches = caching(host)
    loader = DataLoader(Photos(files, Compose(AUGMENT)), 2)
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], 0.1)
    iterator = iter(loader)
    next(iterator)
    before = generators()
    weight.grad = torch.ones(1)
    optimizer.step()

    assert difference(before, generators()) == ""
    assert all(only(caches).store.find(index) for index in range(12))
    FETCHED.value = 0
    list(iterator)
    assert FETCHED.value == 2 * 2  # the two batches that are compared


def test_undone(files: list[str], host: Host) -> None:
    """Stock is stock again."""
    from torch.utils.data._utils.fetch import _MapDatasetFetcher

    before = _MapDatasetFetcher.fetch, DataLoader._get_iterator
    caching(host)
    host.undo()

    assert (_MapDatasetFetcher.fetch, DataLoader._get_iterator) == before


# -- what the observed run says


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda f: Photos(f, Compose(AUGMENT)), ""),
        (Sounds, ""),
        (cacheable.Spectrograms, "fetching draws randomness"),
        (lambda f: cacheable.AfterIt(f, Compose(AUGMENT)), "fetching draws randomness outside of its transform"),
        (lambda f: cacheable.Counting(f, ToTensor()), "fetching changes the dataset"),
        (cacheable.Urandom, "kept and fetched anew, they differ"),
        (cacheable.Fresh, "its code asks for default_rng, which no seed decides"),
        (cacheable.Timed, "its code asks for time, which no seed decides"),
        (lambda f: vars(d := Sounds(f)).update(own=random.Random(1)) or d, "it holds a random generator of its own"),
        (lambda f: vars(d := Sounds(f)).update(lock=multiprocessing.Lock()) or d, "it holds what cannot be watched"),
        (lambda f: Photos(f), "batch[0][0] holds a PIL.Image.Image"),
    ],
)
def test_why_not(make: Any, reason: str, files: list[str]) -> None:
    """Found on a copy: neither the dataset nor a generator has moved."""
    dataset = make(files)
    held, states = dict(vars(dataset)), generators()
    answer = why_not_cached(DataLoader(dataset, 2, collate_fn=list if "PIL" in reason else None))

    assert answer.startswith(reason)
    assert bool(answer) == bool(reason)
    assert vars(dataset) == held
    assert difference(states, generators()) == ""


def test_cheap_samples_are_not_worth_it(monkeypatch: pytest.MonkeyPatch, files: list[str]) -> None:
    """The threshold is what decides; here no sample is dear enough."""
    monkeypatch.setattr("hotlap.loader.cached._WORTH", 1e9)

    assert "microseconds to make, and" in why_not_cached(DataLoader(Sounds(files), 2))


class Unknown:
    """No sample can be copied that holds one."""


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (Unknown(), "holds a loader.test_sample_cache.Unknown"),
        (torch.nn.Parameter(torch.ones(2)), "Parameter"),
        (torch.ones(2, requires_grad=True), "not plain and dense"),
        (torch.ones(2).to_sparse(), "not plain and dense"),
        (torch.ones(10_000)[::1000], "sparse view"),
        ({1j: 2, Unknown: 3}, "keys that are not plain"),
        (np.array([None]), "not plain"),
        (np.arange(9)[::2], "strided"),
        (np.ma.ones(3), "not plain"),
    ],
)
def test_what_cannot_be_copied_exactly_is_refused(sample: Any, reason: str) -> None:
    from hotlap.loader.samples import Freezer

    with pytest.raises(UnfitError, match=reason):
        Freezer(alone=False).node([sample])


def test_memory_of_others_is_refused_where_the_script_is_handed_it() -> None:
    """Edits in place would reach the dataset in stock, and would not in a copy (S20)."""
    from hotlap.loader.samples import Freezer

    x = torch.ones(4, 4)
    for sample in (x[1], torch.from_numpy(np.ones(3)), np.ones((2, 2))[0], (x, x)):
        with pytest.raises(UnfitError):
            Freezer(alone=True).node(sample)
    Freezer(alone=False).node(x[1])


def test_reads_in_c_are_refused(files: list[str], host: Host) -> None:
    """A library that opens its files itself tells nobody which."""
    import ctypes

    sizes = [64]

    class Native(cacheable.Files):
        def __getitem__(self, index):
            libc, buffer = ctypes.CDLL(None), ctypes.create_string_buffer(sizes[0])
            descriptor = libc.open(os.fsencode(self.samples[index][0] + ".wav"), os.O_RDONLY)
            libc.read(descriptor, buffer, sizes[0])
            libc.close(descriptor)
            return buffer.raw

    class Beside(Native):
        """One file that is seen, and another that is not."""

        def __getitem__(self, index):
            return Path(self.samples[index][0] + ".wav").read_bytes(), super().__getitem__(index)

    for file in files:
        Path(file + ".wav").write_bytes(bytes(100_000))
        age(Path(file + ".wav"))
    assert "in a way that is not seen" in why_not_cached(DataLoader(Native(files), 2))
    sizes[0] = 80_000
    assert "in a way that is not seen" in why_not_cached(DataLoader(Beside(files), 2))
