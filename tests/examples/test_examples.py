"""The examples are ordinary scripts on real data, and they really learn."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRIPTS = ("images", "text", "speech")
pytest.importorskip("torch")
for package in ("sklearn", "PIL", "espeakng_loader"):
    pytest.importorskip(package)


def python(*args, check=True):
    """What a fresh Python says, with every warning an error."""
    command = [sys.executable, "-W", "error", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=check)


def load(name):
    """An example as a module, from its file."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def contents(folder):
    """Every file below a folder, by its path: its bytes."""
    return {file.relative_to(folder): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def final_number(output):
    """The number at the end of the last line."""
    return float(output.splitlines()[-1].split()[-1])


@pytest.fixture(scope="session")
def data():
    """The prepared data, made now if it is missing."""
    python(EXAMPLES / "prepare.py")
    return EXAMPLES / "data"


# --- prepare.py


def test_prepares_the_same_bytes_twice(tmp_path):
    """Digits and text depend on nothing but the versions of the packages."""
    for out in ("one", "two"):
        python(EXAMPLES / "prepare.py", "images", "text", "--out", tmp_path / out)

    assert len(contents(tmp_path / "one")) == 6
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_speaks_the_same_bytes_twice(tmp_path):
    """Even a voice with breath, which espeak-ng would seed from the clock, says the same in each process."""
    code = "import prepare; prepare.VOICES.update(train='Alex f2', test='f5'); prepare.TAKES.update(train=1, test=1);"
    for out in ("one", "two"):
        arguments = ["speech", "--out", str(tmp_path / out)]
        python("-c", f"import sys; sys.path.insert(0, {str(EXAMPLES)!r}); {code} prepare.main({arguments})")

    assert len(contents(tmp_path / "one")) == 36
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.slow
def test_prepares_everything_the_same_twice(tmp_path, data):
    """A second preparation of all three sets gives the bytes of the first."""
    python(EXAMPLES / "prepare.py", "--out", tmp_path)

    assert contents(tmp_path) == contents(data)


def test_leaves_alone_what_is_there(tmp_path):
    """A second run writes nothing, and says so."""
    python(EXAMPLES / "prepare.py", "text", "--out", tmp_path)
    (tmp_path / "text" / "train.txt").write_text("mine")
    second = python(EXAMPLES / "prepare.py", "text", "--out", tmp_path)

    assert "already" in second.stdout
    assert (tmp_path / "text" / "train.txt").read_text() == "mine"


def test_takes_no_half_for_the_whole(tmp_path, monkeypatch):
    """An interrupted preparation leaves nothing behind, and the next one starts afresh."""
    prepare = load("prepare")
    whole = prepare.MAKERS["text"]

    def interrupted(folder):
        (folder / "train.txt").write_text("half of")
        raise KeyboardInterrupt

    monkeypatch.setitem(prepare.MAKERS, "text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare.main(["text", "--out", str(tmp_path)])

    assert list(tmp_path.iterdir()) == []
    monkeypatch.setitem(prepare.MAKERS, "text", whole)
    prepare.main(["text", "--out", str(tmp_path)])
    assert len((tmp_path / "text" / "train.txt").read_text(encoding="utf-8")) > 100_000


def test_refuses_an_unknown_name(tmp_path):
    """A misspelt name is answered with the names there are."""
    answer = python(EXAMPLES / "prepare.py", "sound", "--out", tmp_path, check=False)

    assert answer.returncode == 2
    assert "images, text, speech" in answer.stderr


def test_tests_on_scans_not_trained_on(data):
    """No test scan, in any shift, is among the training images."""
    train = np.load(data / "images" / "train_images.npy")
    test = np.load(data / "images" / "test_images.npy")[:, 0, 2:26, 2:26]

    assert train.shape == (20_000, 3, 28, 28)
    assert test.shape == (360, 24, 24)
    shifts = [(y, x) for y in range(5) for x in range(5)]
    trained = {image[0, y : y + 24, x : x + 24].tobytes() for image in train for y, x in shifts}
    assert not trained & {scan.tobytes() for scan in test}


def test_tests_on_text_not_trained_on(data):
    """No paragraph of the test text was trained on."""
    parts = [
        set(re.split(r"\n{2,}", (data / "text" / f"{split}.txt").read_text("utf-8"))) for split in ("train", "test")
    ]

    assert len(parts[1]) > 100
    assert {part.strip() for part in parts[0]} & {part.strip() for part in parts[1]} <= {""}


def test_tests_on_voices_not_trained_on(data):
    """Twelve words in both, no voice in both."""
    names = {
        split: [file.name.split("_") for file in (data / "speech" / split).iterdir()] for split in ("train", "test")
    }

    assert len({word for word, _, _ in names["train"]}) == 12
    assert {word for word, _, _ in names["train"]} == {word for word, _, _ in names["test"]}
    assert not {voice for _, voice, _ in names["train"]} & {voice for _, voice, _ in names["test"]}


# --- the three scripts


@pytest.mark.parametrize("name", [*SCRIPTS, "prepare"])
def test_is_plain_pytorch(name):
    """The examples know nothing of the tool that they are examples for."""
    assert "hotlap" not in (EXAMPLES / f"{name}.py").read_text().lower()


@pytest.mark.parametrize("name", SCRIPTS)
def test_says_what_to_run_when_the_data_is_missing(name, tmp_path):
    """A script without its data ends with the command that makes it."""
    script = tmp_path / f"{name}.py"
    script.write_text((EXAMPLES / f"{name}.py").read_text())
    answer = python(script, check=False)

    assert answer.returncode == 1
    assert "python examples/prepare.py" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize(("name", "low", "high"), [("images", 0.0, 0.3), ("text", 5.0, 8.0), ("speech", 0.0, 0.3)])
def test_knows_nothing_before_training(name, low, high, data):
    """The whole script, from flags to its final line, without an epoch."""
    last = final_number(python(EXAMPLES / f"{name}.py", "--epochs", "0", "--batch-size", "64").stdout)

    assert low <= last <= high


def small(name):
    """An example's module, a small model and one batch that it can learn by heart."""
    import torch
    from torch.utils.data import DataLoader

    example = load(name)
    torch.manual_seed(0)
    if name == "text":
        text = "the quick brown fox jumps over the lazy dog. " * 6
        dataset = example.Windows(text, sorted(set(text)), context=16)
        model = example.Transformer(len(set(text)), context=16, width=32, layers=1, dropout=0.0)
    elif name == "images":
        dataset = [(torch.rand(3, 28, 28), label) for label in range(10)]
        model = example.Net()
    else:
        dataset = [(torch.randn(1, 40, 87), label) for label in range(12)]
        model = example.Net(words=12, width=4)
    return example, model, DataLoader(dataset, batch_size=16)


@pytest.mark.parametrize("name", SCRIPTS)
def test_learns_one_batch(name):
    """The loss falls, epoch by epoch, under the script's own train()."""
    import torch

    example, model, loader = small(name)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = [example.train(model, loader, torch.nn.CrossEntropyLoss(), optimizer, "cpu") for _ in range(12)]

    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("name", SCRIPTS)
def test_trains_with_each_optimizer(name):
    """Every name that --optimizer offers makes a step and keeps the loss finite."""
    import torch

    for chosen in load(name).OPTIMIZERS:
        example, model, loader = small(name)
        optimizer_class, settings = example.OPTIMIZERS[chosen]
        optimizer = optimizer_class(model.parameters(), **settings)
        loss = example.train(model, loader, torch.nn.CrossEntropyLoss(), optimizer, "cpu")

        assert np.isfinite(loss), chosen


def test_gives_windows_one_character_apart():
    """A target is its input one character later, and windows do not overlap."""
    windows = load("text").Windows("abcdefgh", "abcdefgh", context=3)

    assert len(windows) == 2
    assert [part.tolist() for part in windows[0]] == [[0, 1, 2], [1, 2, 3]]
    assert [part.tolist() for part in windows[1]] == [[3, 4, 5], [4, 5, 6]]


def test_shifts_only_what_it_trains_on(data):
    """A test recording is the same each time, a training recording is not."""
    speech = load("speech")
    (first, _), (again, _) = speech.Words("test")[0], speech.Words("test")[0]
    train = speech.Words("train")

    assert first.shape == (1, 40, 87)
    assert first.equal(again)
    assert not train[0][0].equal(train[0][0])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_reads_digits(data):
    """Two epochs read 97 % of the scans not trained on."""
    assert final_number(python(EXAMPLES / "images.py", "--epochs", "2").stdout) >= 0.97


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_writes_english(data):
    """Five epochs bring the text not trained on below the promised bits per character."""
    assert final_number(python(EXAMPLES / "text.py", "--epochs", "5").stdout) <= 2.4


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_recognises_words(data):
    """Eight epochs recognise 90 % of the words spoken by voices not trained on."""
    assert final_number(python(EXAMPLES / "speech.py", "--epochs", "8").stdout) >= 0.90
