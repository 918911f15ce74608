"""Make the data that the three examples learn from: digits, text and speech.

    pip install scikit-learn pillow espeakng-loader
    python examples/prepare.py

Everything is made on this machine, nothing is downloaded. What is there already is left alone,
and the same versions of the packages give the same bytes. It takes about ten seconds.
"""

import argparse
import ctypes
import os
import sys
import tempfile
import wave
from pathlib import Path

import numpy as np

DATA = Path(__file__).resolve().parent / "data"

TRAIN_IMAGES = 20_000
TEST_SCANS = 360  # of the 1,797 scans
SHIFT = 2  # pixels, each way

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "start", "back")
ACCENTS = ("en-us", "en-gb-x-rp", "en-gb-scotland", "en-029")
VOICES = {
    "train": "Alex Alicia Andrea Andy Annie Denis Diogo Gene Henrique Hugo Jacky Lee Marco Mario Michael Mike Nguyen "
    "Reed adam anika aunty belinda benjamin boris caleb david ed f1 f2 f4 gustave iven john m1 m3 m4 m7 marcelo max "
    "miguel pablo paul rob shelby travis zac",
    "test": "f3 f5 m2 m6 linda edward grandpa steph ian norbert",
}
TAKES = {"train": 5, "test": 4}  # of each word by each voice
RATE = 22_050  # samples per second, what espeak-ng gives


def show(name, done, total):
    """Progress on one line of a terminal; a single line at the end in a log file."""
    if sys.stdout.isatty() or done == total:
        print(f"\r{name}: {done:,} of {total:,}", end="\n" if done == total else "", flush=True)


def make_images(folder):
    """Handwritten digits: real scans of 8x8 pixels, enlarged to 3x28x28."""
    from PIL import Image
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(0)
    digits = load_digits()
    order = rng.permutation(len(digits.images))
    size = 28 - 2 * SHIFT
    scans = [Image.fromarray((scan * 255 / 16).astype(np.uint8)) for scan in digits.images]
    scans = np.stack([np.asarray(scan.resize((size, size), Image.Resampling.BILINEAR)) for scan in scans])

    # The scans are split first, so no shifted copy of a test scan is ever trained on.
    test, train = order[:TEST_SCANS], order[TEST_SCANS:]
    centre = SHIFT * (2 * SHIFT + 1) + SHIFT
    jobs = {"test": [(scan, centre) for scan in test], "train": []}
    copies = -(-TRAIN_IMAGES // len(train))
    for scan in train:
        jobs["train"] += [(scan, shift) for shift in rng.permutation((2 * SHIFT + 1) ** 2)[:copies]]
    jobs["train"] = [jobs["train"][i] for i in rng.permutation(len(jobs["train"]))[:TRAIN_IMAGES]]

    for split, pairs in jobs.items():
        images = np.zeros((len(pairs), 3, 28, 28), np.uint8)
        for image, (scan, shift) in zip(images, pairs, strict=True):
            y, x = divmod(shift, 2 * SHIFT + 1)
            image[:, y : y + size, x : x + size] = scans[scan]
        np.save(folder / f"{split}_images.npy", images)
        np.save(folder / f"{split}_labels.npy", digits.target[[scan for scan, _ in pairs]].astype(np.int64))
        show(f"images, {split}", len(pairs), len(pairs))


def make_text(folder):
    """English: the documentation of the Python language that ships with Python itself."""
    from pydoc_data.topics import topics

    # The topics quote one another. A paragraph is kept once, so that none is both trained on and tested.
    seen = set()
    texts = {"train": "", "test": ""}
    for number, (_, topic) in enumerate(sorted(topics.items())):
        paragraphs = [part for part in topic.split("\n\n") if part.strip() not in seen]
        seen.update(part.strip() for part in paragraphs)
        texts["test" if number % 8 == 7 else "train"] += "\n\n".join([*paragraphs, ""])
    for split, text in texts.items():
        (folder / f"{split}.txt").write_text(text, encoding="utf-8", newline="\n")
        show(f"text, {split} characters", len(text), len(text))


class Speaker:
    """espeak-ng, through its C interface."""

    def __init__(self):
        import espeakng_loader

        self.espeak = ctypes.CDLL(espeakng_loader.get_library_path())
        data = os.fsencode(espeakng_loader.get_data_path())
        rate = self.espeak.espeak_Initialize(2, 0, data, 0x8000)  # synchronous; return errors, do not exit
        if rate != RATE:
            raise SystemExit(f"espeak-ng gave {rate} samples per second, not {RATE}")
        self.espeak.espeak_ng_SetRandSeed(ctypes.c_long(0))  # breath is random, and seeded by the clock
        self.chunks = []
        callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self.callback = callback(self.receive)  # kept: C holds only a pointer to it
        self.espeak.espeak_SetSynthCallback(self.callback)

    def receive(self, samples, count, _):
        if samples and count > 0:
            self.chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    def say(self, word, voice, speed, pitch):
        """The samples of one spoken word, from -1 to 1."""
        self.chunks.clear()
        if self.espeak.espeak_SetVoiceByName(voice.encode()) != 0:
            raise SystemExit(f"espeak-ng has no voice {voice}")
        self.espeak.espeak_SetParameter(1, int(speed), 0)  # words per minute
        self.espeak.espeak_SetParameter(3, int(pitch), 0)  # 0 to 100
        text = word.encode() + b"\0"
        self.espeak.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 1, 0, 1, None, None)
        return np.frombuffer(b"".join(self.chunks), "<i2").astype(np.float32) / 32768


def make_speech(folder):
    """Twelve spoken words, one second each, as word_voice_take.wav."""
    rng = np.random.default_rng(0)
    speaker = Speaker()
    for split, voices in VOICES.items():
        (folder / split).mkdir()
        jobs = [(word, voice, take) for voice in voices.split() for word in WORDS for take in range(TAKES[split])]
        for done, (word, voice, take) in enumerate(jobs, 1):
            full_voice = f"{rng.choice(ACCENTS)}+{voice}"
            spoken = speaker.say(word, full_voice, speed=rng.integers(120, 221), pitch=rng.integers(25, 76))[:RATE]
            sound = np.zeros(RATE, np.float32)
            start = (RATE - len(spoken)) // 2
            sound[start : start + len(spoken)] = spoken * (0.3 / np.sqrt(np.mean(spoken**2)))
            noise = rng.standard_normal(RATE, np.float32)
            if take % 2:
                noise = np.convolve(noise, np.full(16, 0.25, np.float32), "same")  # a rumble, not a hiss
            sound += noise * 0.3 * 10 ** (-rng.uniform(10, 30) / 20)  # 10 to 30 dB below the voice
            samples = (sound * 0.9 / np.abs(sound).max() * 32767).astype("<i2")
            with wave.open(str(folder / split / f"{word}_{voice}_{take}.wav"), "wb") as file:
                file.setparams((1, 2, RATE, 0, "NONE", "not compressed"))
                file.writeframes(samples.tobytes())
            show(f"speech, {split}", done, len(jobs))


MAKERS = {"images": make_images, "text": make_text, "speech": make_speech}


def main(argv=None):
    parser = argparse.ArgumentParser(description="Make the data of the examples.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these of {', '.join(MAKERS)}")
    parser.add_argument("--out", type=Path, default=DATA, help="folder for the data (default: %(default)s)")
    args = parser.parse_args(argv)
    if unknown := set(args.names) - set(MAKERS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; choose from {', '.join(MAKERS)}")

    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names or MAKERS:
        if (args.out / name).exists():
            print(f"{name}: already in {args.out / name}")
            continue
        # Made beside its place and renamed when complete: half of it is never taken for the whole.
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=args.out) as scratch:
            folder = Path(scratch) / name
            folder.mkdir()
            MAKERS[name](folder)
            folder.rename(args.out / name)


if __name__ == "__main__":
    main()
