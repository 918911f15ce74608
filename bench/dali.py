"""DALI's decoding on a CPU beside torch's loader: a folder of JPEG files, resized, with random crops of 224x224.

Run: python bench/dali.py [--rounds 5], with nvidia-dali-cuda120 and nvidia-nvimgcodec-cu12 on PYTHONPATH, and the
folder of libnvimgcodec.so on LD_LIBRARY_PATH. Its pixels and its crops are other ones than torch's, so it is no peer
that serves the same batches; an epoch by each in turn, samples per second.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from nvidia.dali import fn, pipeline_def, types
from sample_cache import Compose, Photos, crop, resize, to_tensor, write_images
from torch.utils.data import DataLoader

IMAGES, BATCH = 120, 16


@pipeline_def(batch_size=BATCH, num_threads=2, device_id=None)
def photos(folder: str) -> Any:
    """The same steps as the chain of torch's loader."""
    files, labels = fn.readers.file(file_root=folder, random_shuffle=True)
    images = fn.resize(fn.decoders.image(files, device="cpu", output_type=types.RGB), resize_x=341, resize_y=256)
    places = {name: fn.random.uniform(range=(0, 1)) for name in ("crop_pos_x", "crop_pos_y")}
    return fn.crop_mirror_normalize(images, crop=(224, 224), **places, dtype=types.FLOAT, mean=[0], std=[255]), labels


def main() -> None:
    """Print samples per second of both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "0"
        folder.mkdir()
        write_images(folder, IMAGES)
        loader = DataLoader(Photos(folder, IMAGES, Compose([resize, crop, to_tensor])), BATCH, shuffle=True)
        pipeline = photos(name)
        pipeline.build()
        arms = {"torch": lambda: list(loader), "dali": lambda: [pipeline.run() for _ in range(IMAGES // BATCH)]}
        count = {"torch": IMAGES, "dali": IMAGES // BATCH * BATCH}
        found: dict[str, list[float]] = {arm: [] for arm in arms}
        for _ in range(rounds + 1):
            for arm, epoch in arms.items():
                began = perf_counter()
                epoch()
                found[arm].append(count[arm] / (perf_counter() - began))
        for arm, rates in found.items():
            print(f"{arm:8}{median(rates[1:]):8.0f} samples per second ({min(rates[1:]):.0f} to {max(rates[1:]):.0f})")


if __name__ == "__main__":
    main()
