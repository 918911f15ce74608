"""A whole batch is what stock's row by row gives, to the bit, or it is refused with the reason."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import Dataset, StackDataset, Subset, TensorDataset, default_collate
from torch.utils.data._utils import worker
from torch.utils.data._utils.fetch import _MapDatasetFetcher
from torch.utils.data._utils.worker import WorkerInfo

from hotlap.loader.compare import difference
from hotlap.loader.tree import UnfitError
from hotlap.loader.whole_batch import Fetch, fetch_path
from loader import datasets
from loader.datasets import REFUSED, UNDERSTOOD, Tuple

DTYPES = [
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128),
]
NUMPY_DTYPES = [dtype for dtype in DTYPES if dtype is not torch.bfloat16]


def stock(dataset: Any, indices: Any) -> Any:
    """The batch as torch fetches it."""
    return _MapDatasetFetcher(dataset, True, default_collate, False).fetch(indices)


def fast(dataset: Any) -> Fetch:
    """The fast path, which must exist."""
    path = fetch_path(dataset, default_collate, True)
    assert not isinstance(path, str), path
    return path


def some(dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    """Arbitrary bits of that dtype, NaNs included; only booleans must be 0 or 1."""
    if dtype is torch.bool:
        return torch.randint(2, shape).bool()
    if dtype.is_complex:
        return torch.randn(shape, dtype=dtype)
    return torch.randint(256, (*shape, dtype.itemsize), dtype=torch.uint8).view(dtype).reshape(shape)


def some_tensors() -> TensorDataset:
    """Tensors of several dtypes, one of them strided."""
    return TensorDataset(torch.randn(12, 4, 2).bfloat16()[::2], torch.arange(6), torch.ones(6, 1).bool())


lengths = st.integers(1, 9)
rows = st.lists(st.integers(1, 4), max_size=4).map(tuple)


@st.composite
def cases(draw: st.DrawFn, dtypes: list[torch.dtype], rows: st.SearchStrategy[tuple[int, ...]] = rows) -> Any:
    """Fields of one length, and indices into them."""
    torch.manual_seed(draw(st.integers(0, 99)))
    length = draw(lengths)
    fields = [some(d, (length, *draw(rows))) for d in draw(st.lists(st.sampled_from(dtypes), min_size=1, max_size=3))]
    indices = draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=12))
    return fields, indices


class Arrays(Dataset[Any]):
    """Numpy's own rows and scalars."""

    def __init__(self, fields: list[torch.Tensor]) -> None:
        self.a, self.b, self.c = (field.numpy() for field in (*fields, *fields, *fields)[:3])

    def __getitem__(self, i):
        return {"a": self.a[i], "bc": (self.b[i], self.c[i])}


class Converted(Dataset[Any]):
    """Every conversion of a column; some are errors in some dtypes."""

    def __init__(self, column: Any) -> None:
        self.y = column

    def __getitem__(self, i):
        return int(self.y[i])


class ToFloat(Converted):
    def __getitem__(self, i):
        return float(self.y[i])


class ToItem(Converted):
    def __getitem__(self, i):
        return [self.y[i].item()]


class ToCast(Converted):
    def __getitem__(self, i):
        return self.y[i].float(), self.y[i].double(), self.y[i].half(), self.y[i].long()


class ToTensor(Converted):
    def __getitem__(self, i):
        return (
            torch.tensor(self.y[i]),
            torch.as_tensor(self.y[i], dtype=torch.float32),
            torch.tensor(self.y[i]).double(),
        )


@settings(deadline=None, max_examples=150)
@given(cases(DTYPES))
def test_tensor_dataset(case: Any) -> None:
    """Every dtype, shape and order of indices, duplicates included."""
    fields, indices = case
    dataset = TensorDataset(*fields)

    assert difference(stock(dataset, indices), fast(dataset)(indices)) == ""


@settings(deadline=None, max_examples=150)
@given(cases(NUMPY_DTYPES))
def test_numpy_rows_and_scalars(case: Any) -> None:
    """Arrays go through numpy's own row views, one-dimensional ones through numpy's scalars."""
    fields, indices = case
    for field in fields:  # a signalling NaN is quieted by stock on its way through a Python number
        if field.is_floating_point():
            field.nan_to_num_()
    dataset = Arrays(fields)

    assert difference(stock(dataset, indices), fast(dataset)(indices)) == ""


@settings(deadline=None, max_examples=200)
@given(
    cases(NUMPY_DTYPES, st.just(())),
    st.sampled_from([Converted, ToFloat, ToItem, ToCast, ToTensor]),
    st.booleans(),
)
def test_conversions(case: Any, kind: Any, numpy: bool) -> None:
    """A conversion is either done to the bit or refused."""
    fields, indices = case
    column = fields[0]
    if column.is_floating_point():
        column.nan_to_num_()
    path = fetch_path(kind(column.numpy() if numpy else column), default_collate, True)
    if isinstance(path, str):
        return

    assert difference(stock(kind(column.numpy() if numpy else column), indices), path(indices)) == ""


class Places(Dataset[Any]):
    """Windows and rows at places computed from the index."""

    def __init__(self, data: Any, step: int, shift: int, length: int, lower: int, upper: int) -> None:
        self.data, self.step, self.shift, self.length = data, step, shift, length
        self.lower, self.upper = lower, upper

    def __getitem__(self, i):
        start = self.shift + i * self.step
        window = self.data[start : start + self.length]
        return window[self.lower : self.upper], window[1:], self.data[-1 * (1 - i) + 1]


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(DTYPES),
    st.lists(st.integers(1, 3), max_size=2),
    st.tuples(*[st.integers(-2, 3)] * 2, st.integers(1, 5), st.integers(-4, 4), st.integers(-4, 4)),
    st.lists(st.integers(0, 12), min_size=1, max_size=9),
    st.booleans(),
)
def test_windows(dtype: torch.dtype, shape: list[int], places: Any, indices: list[int], numpy: bool) -> None:
    """To the bit wherever all of a batch lies within the data; else the batch, or the whole dataset, is refused."""
    torch.manual_seed(sum(indices))
    data = some(dtype, (24, *shape))
    if data.is_floating_point():  # a signalling NaN is quieted by stock on its way through a Python number
        data.nan_to_num_()
    dataset = Places(data.numpy() if numpy and dtype in NUMPY_DTYPES else data, *places)
    step, shift, length, lower, upper = places
    path = fetch_path(dataset, default_collate, True)
    if isinstance(path, str):
        nothing = length < 2 or not range(length)[lower:upper]
        assert nothing or shift < 0, path
        return
    try:
        batch = path(indices)
    except UnfitError:
        starts = [shift + i * step for i in indices]
        assert min(starts) < 0 or max(starts) + length > len(data)
        return

    assert difference(stock(dataset, indices), batch) == ""


class Chains(Converted):
    """One conversion after another, of a number or a row."""

    def __getitem__(self, i):
        return {
            "narrow": torch.from_numpy(self.y[i : i + 2].astype(np.int16)).long(),
            "bool": torch.from_numpy(self.y[i : i + 2].astype(np.bool_)).float(),
            "back": torch.from_numpy(self.y[i : i + 2].astype(np.uint8).astype(np.int64)),
        }


class TensorChains(Converted):
    def __getitem__(self, i):
        return (
            self.y[i].short().long(),
            self.y[i].bool().long(),
            self.y[i].half().double(),
            self.y[i : i + 3].short().int(),
        )


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-(2**40), 2**40), min_size=12, max_size=12))
def test_chains_of_conversions(values: list[int]) -> None:
    """What one of them takes off is not there for the next."""
    column = torch.tensor(values)
    for dataset in (Chains(column.numpy()), TensorChains(column)):
        assert difference(stock(dataset, [3, 9, 0]), fast(dataset)([3, 9, 0])) == ""


class MadeOf(Converted):
    def __getitem__(self, i):
        return torch.tensor(self.y[i], dtype=torch.uint8)


def test_numbers_that_a_type_cannot_hold() -> None:
    """Torch refuses them, numpy warns of them: both are left to speak."""
    assert "gathered" in str(fetch_path(MadeOf(np.arange(250, 260)), default_collate, True))
    large = np.array([1.0, 1e300, np.nan])
    path = fast(Narrowed(large))
    assert difference(stock(Narrowed(large), [0, 2]), path([0, 2])) == ""
    with pytest.raises(UnfitError, match="numpy may have something to say"):
        path([0, 1])
    with np.errstate(under="raise"), pytest.raises(UnfitError, match="numpy may have something to say"):
        path([0])


class Narrowed(Converted):
    def __getitem__(self, i):
        return self.y[i : i + 1].astype(np.float32)


WIDTH = 3


def enclosed(WIDTH: int) -> Any:  # noqa: N803
    """A dataset whose code reads a name of the function around it, not the module's."""

    class Enclosed(Converted):
        def __getitem__(self, i):
            return self.y[i * WIDTH : i * WIDTH + WIDTH]

    return Enclosed(torch.arange(20))


class OfModule(Converted):
    def __getitem__(self, i):
        return self.y[i * WIDTH : i * WIDTH + WIDTH]


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module's is asked for at each batch; one of a function around the class is none."""
    assert "more than take rows: `WIDTH`" in str(fetch_path(enclosed(3), default_collate, True))
    dataset = OfModule(torch.arange(20))
    path = fast(dataset)
    for width in (3, 2, 4):
        monkeypatch.setitem(globals(), "WIDTH", width)
        assert difference(stock(dataset, [1, 0, 2]), path([1, 0, 2])) == ""
    for width in (2.0, True, None):
        monkeypatch.setitem(globals(), "WIDTH", width)
        with pytest.raises(UnfitError, match="WIDTH is no integer"):
            path([1])


def test_a_memory_map(tmp_path: Path) -> None:
    """Of tokens, read only; one whose numbers lie at odd addresses is torch's."""
    np.arange(500, dtype=np.uint16).tofile(tmp_path / "tokens")
    dataset = datasets.TokenFile()
    dataset.text = np.memmap(tmp_path / "tokens", np.uint16, "r")
    path = fast(dataset)
    assert difference(stock(dataset, [5, 0, 60]), path([5, 0, 60])) == ""
    for text in (np.memmap(tmp_path / "tokens", np.uint16, "r", 1, (499,)), dataset.text[::2], dataset.text[:0]):
        dataset.text = text
        with pytest.raises(UnfitError, match="read-only"):
            path([1])


def test_lengths_may_change() -> None:
    """What places are computed from is asked for at each batch."""
    dataset = datasets.Windowed()
    path = fast(dataset)
    for dataset.context in (5, 3, 4):
        assert difference(stock(dataset, [7, 0, 3]), path([7, 0, 3])) == ""
    dataset.context = 5.0
    with pytest.raises(UnfitError, match="context is no integer"):
        path([1])


def test_conversions_are_served() -> None:
    """The usual ones: integer labels and float targets."""
    labels, scores = torch.arange(8), np.linspace(0, 1, 8)

    for dataset in (Converted(labels), Converted(labels.numpy()), ToFloat(labels), ToFloat(scores), ToItem(scores)):
        fast(dataset)
    fast(ToCast(labels))
    fast(ToTensor(scores))


@settings(deadline=None, max_examples=60)
@given(cases(DTYPES), st.data())
def test_subsets_and_stacks(case: Any, data: st.DataObject) -> None:
    """Subsets of subsets, by lists, ranges and arrays, alone and in stacks."""
    fields, _ = case
    length = len(fields[0])
    picked = data.draw(st.lists(st.integers(-length, length - 1), min_size=1, max_size=9))
    inner = Subset(TensorDataset(*fields), [i % length for i in picked])
    outer = Subset(inner, range(len(picked)))
    by_array = Subset(inner, np.arange(len(picked)))
    indices = data.draw(st.lists(st.integers(0, len(picked) - 1), min_size=1, max_size=9))

    for dataset in (inner, outer, by_array, StackDataset(inner, outer), StackDataset(a=outer, b=inner)):
        assert difference(stock(dataset, indices), fast(dataset)(indices)) == ""


@settings(deadline=None, max_examples=100)
@given(
    st.permutations(range(4)),
    st.lists(st.integers(1, 3), min_size=4, max_size=4),
    st.integers(1, 3),
    st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_layouts(order: list[int], shape: list[int], step: int, layout: torch.memory_format) -> None:
    """Permuted, strided and channels-last sources: the strides of stock, or refused."""
    torch.manual_seed(0)
    field = torch.randn(shape).contiguous(memory_format=layout).permute(order)[::step]
    dataset, indices = TensorDataset(field), [0, len(field) - 1, 0]
    path = fetch_path(dataset, default_collate, True)

    if isinstance(path, str):
        assert path == "its rows are not contiguous in memory"
    else:
        assert difference(stock(dataset, indices), path(indices)) == ""
        assert difference(stock(dataset, [0]), path([0])) == ""


@pytest.mark.parametrize("kind", UNDERSTOOD, ids=lambda kind: kind.__name__)
def test_understood(kind: Any) -> None:
    """What scripts write, to the bit."""
    dataset = kind()
    path = fast(dataset)

    for indices in ([3], [1, 1, 0], list(range(10, 30)), [63, 0, 5]):
        assert difference(stock(dataset, indices), path(indices)) == ""


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.__name__)
def test_refused(kind: Any) -> None:
    """The reason names what is in the way."""
    path = fetch_path(kind(), default_collate, True)

    assert isinstance(path, str)
    assert REFUSED[kind] in path


@pytest.mark.parametrize("kind", [TensorDataset, Subset, StackDataset, Tuple], ids=lambda kind: kind.__name__)
def test_a_patched_class(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that got a `__getitems__`, or another one, is the script's."""
    rows = TensorDataset(torch.randn(9, 3))
    dataset = {TensorDataset: rows, Subset: Subset(rows, [3, 1]), StackDataset: StackDataset(rows)}.get(kind) or Tuple()
    path = fast(dataset)
    monkeypatch.setattr(kind, "__getitems__", lambda self, indices: [self[i] for i in indices], raising=False)

    with pytest.raises(UnfitError, match="was changed"):
        path([0, 1])


def test_numpy_integers() -> None:
    """They count places as Python's do; those of 32 bits overflow, as the script's own code would have it."""
    dataset = datasets.Windowed()
    path = fast(dataset)
    assert difference(stock(dataset, list(np.array([3, 0]))), path(list(np.array([3, 0])))) == ""
    with pytest.raises(UnfitError, match="32 bits"):
        path(list(np.array([3, 0], dtype=np.int32)))


def test_refuses_other_loaders() -> None:
    """What is not the dataset's doing."""
    dataset = Tuple()

    assert fetch_path(dataset, list, True) == "it has a collate_fn of its own"
    assert fetch_path(dataset, default_collate, False) == "it hands over single samples (batch_size=None)"
    assert "not a plain Python method" in str(fetch_path([(1, 2)], default_collate, True))
    dataset.__getitems__ = lambda indices: []  # type: ignore[attr-defined]
    assert "patched" in str(fetch_path(dataset, default_collate, True))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (torch.nn.Parameter(torch.ones(3)), "Parameter that requires gradients"),
        (torch.ones(3, 2).to_sparse(), "not plain and dense"),
        (torch.ones(3, dtype=torch.complex64).conj(), "not plain and dense"),
        (torch.ones(3, 0), "not contiguous"),
        (np.array(["a", "b"]), "dtype <U1"),
        (np.ones(3, dtype=">f4"), "dtype >f4"),
        (np.ones((3, 2))[::-1], "reversed"),
        ({0: 1}, "dict"),
    ],
)
def test_refuses_sources(source: Any, reason: str) -> None:
    """What an attribute may not hold."""
    dataset = datasets.Single()
    dataset.x = source

    path = fetch_path(dataset, default_collate, True)

    assert isinstance(path, str)
    assert path.startswith("self.x: ")
    assert reason in path


def test_refuses_read_only_arrays() -> None:
    """Torch warns about them, and the warning is the user's."""
    dataset = datasets.Single()
    dataset.x = np.ones((3, 2))
    dataset.x.flags.writeable = False

    assert "read-only" in str(fetch_path(dataset, default_collate, True))


def test_source_must_be_the_code_that_runs(tmp_path: Any) -> None:
    """A script that is edited while it runs is not believed."""
    text = "class Mine:\n    def __init__(self):\n        self.x = [1, 2]\n        self.y = [3, 4]\n"
    file = tmp_path / "script.py"
    file.write_text(text + "    def __getitem__(self, i):\n        return self.x[i]\n")
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(file.read_text(), str(file), "exec"), space)
    file.write_text(text + "    def __getitem__(self, i):\n        return self.y[i]\n")

    with pytest.MonkeyPatch.context() as patch:
        module = type(io)("script")
        module.__file__ = str(file)
        patch.setitem(__import__("sys").modules, "__main__", module)
        path = fetch_path(space["Mine"](), default_collate, True)

    assert path == "the source of __getitem__ is not the code that runs"


@pytest.mark.parametrize(
    "indices",
    [[-1, 2], [np.int64(3), 1], [torch.tensor(3)], [True, False], (1, 2), range(3), [], [64], [1, "a"], iter([1, 2])],
    ids=lambda indices: type(indices).__name__ if hasattr(indices, "__next__") else str(indices),
)
def test_odd_indices(indices: Any) -> None:
    """The same batch, or the stock path."""
    dataset = Tuple()
    try:
        batch = fast(dataset)(indices)
    except UnfitError:
        return

    assert difference(stock(dataset, indices), batch) == ""


def test_current_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are read when stock would read them, and a change of the class, the collation or a condition is seen."""
    dataset = datasets.Locals()
    path = fast(dataset)
    dataset.x[3] = 7
    assert (path([3])[0] == 7).all()
    dataset.x = torch.zeros(64, 2)
    assert path([3])[0].shape == (1, 2)

    dataset.transform = torch.abs
    with pytest.raises(UnfitError, match=r"self\.transform is set"):
        path([3])
    dataset.transform = None
    with torch.device("cpu"), pytest.raises(UnfitError, match="a mode is active"):
        path([3])
    with monkeypatch.context() as patch, pytest.raises(UnfitError, match="was changed"):
        patch.setattr(datasets.Locals, "__getitem__", lambda self, i: 1)
        path([3])
    with monkeypatch.context() as patch, pytest.raises(UnfitError, match="way of collating"):
        patch.setitem(torch.utils.data._utils.collate.default_collate_fn_map, str, list)
        path([3])
    with monkeypatch.context() as patch, pytest.raises(UnfitError, match="way of collating"):
        patch.setitem(torch.utils.data._utils.collate.default_collate_fn_map, tuple, list)
        path([3])
    monkeypatch.setitem(torch.utils.data._utils.collate.default_collate_fn_map, datasets.Locals, list)
    path([3])  # a library's own type


def test_batches_are_fresh() -> None:
    """In-place edits of a served batch never reach the dataset, and each field owns just its own memory."""
    dataset = datasets.Dictionary()
    before = dataset.x.clone()
    batch = fast(dataset)([1, 2, 3])
    batch["x"].fill_(99)
    batch["x"].resize_(100)
    dataset.y.resize_(100)

    assert torch.equal(dataset.x, before)
    small = fast(dataset)([1, 2, 3])["x"]
    saved = io.BytesIO()
    expected = io.BytesIO()
    torch.save(small, saved)
    torch.save(stock(dataset, [1, 2, 3])["x"], expected)
    assert saved.getbuffer().nbytes == expected.getbuffer().nbytes
    assert small.untyped_storage().nbytes() == small.numel() * small.element_size()


def test_unequal_lengths_in_a_list() -> None:
    """Lists are collated as they are, so what cannot be collated is refused."""
    dataset = datasets.Single()
    dataset.x = [torch.ones(1), torch.ones(2)]

    with pytest.raises(RuntimeError, match="stack expects each tensor to be equal size"):
        fast(dataset)([0, 1])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("row", [(3, 28, 28), (3, 128, 128), (224, 224, 3), (33_333,), (2, 16_385)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint16, torch.bool], ids=str)
def test_large_rows(threads: int, row: tuple[int, ...], dtype: torch.dtype) -> None:
    """Taken in parts, where they can be divided; by torch's threads, where there are several."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        dataset = TensorDataset(some(dtype, (20, *row)))
        for indices in ([3, 19, 0, 7, 7, 1], [19, 5] * 30, [4]):
            assert difference(stock(dataset, indices), fast(dataset)(indices)) == ""
        for indices in ([3, 20], [0, -1]):
            with pytest.raises(UnfitError, match="counts from the end or lies outside"):
                fast(dataset)(indices)
        assert difference(stock(one := TensorDataset(dataset.tensors[0][7:8]), [0, 0]), fast(one)([0, 0])) == ""
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("kind", UNDERSTOOD, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("indices", [[0], [2, 3, 4], [3, 2], [4, 5, 7], [1, 2, 2], np.arange(1, 5).tolist()], ids=str)
def test_runs(kind: Any, indices: list[int]) -> None:
    """Indices one after another are copied as a slice."""
    dataset = kind()

    assert difference(stock(dataset, indices), fast(dataset)(indices)) == ""


def test_runs_beyond_the_end() -> None:
    """Whose rows a slice would leave out."""
    dataset = TensorDataset(torch.randn(9, 3), torch.arange(9))

    for indices in ([7, 8, 9], [9], [9, 10], [-2, -1], [8, 9, 3]):
        with pytest.raises(UnfitError, match="counts from the end or lies outside"):
            fast(dataset)(indices)


def test_without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch alone gathers the same."""
    dataset, indices = TensorDataset(torch.randn(9, 3), torch.arange(9)), [5, 0, 5]
    path = fast(dataset)
    monkeypatch.delitem(__import__("sys").modules, "numpy")

    assert difference(stock(dataset, indices), path(indices)) == ""


@pytest.mark.parametrize("kind", [*UNDERSTOOD, some_tensors], ids=lambda kind: kind.__name__)
def test_in_a_worker(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, stock stacks tensors into shared memory, and numbers not."""
    dataset = kind()
    path = fast(dataset)
    monkeypatch.setattr(worker, "_worker_info", WorkerInfo(id=0, num_workers=1, seed=0, dataset=dataset))
    expected = stock(dataset, [5, 0, 5])

    assert difference(expected, path([5, 0, 5])) == ""
