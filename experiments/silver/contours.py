"""What both stages of a two-stage bundle draw on each case of a datalist, kept on disk so that no case is run twice."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from nibabel.filebasedimages import ImageFileError
from tqdm import tqdm

from oarseg.errors import ConfigError, OutputError
from oarseg.files import whole_file, write_json
from oarseg.text import printable

SOURCE = "source.json"
STAGES = ("stage1", "stage2")

# (image, files of stage 1 and stage 2) -> written
Draw = Callable[[Path, Sequence[Path]], None]


def contour_files(out: Path, name: str) -> list[Path]:
    """Where the label maps of stage 1 and of stage 2 of the case ``name`` lie."""
    return [out / "contours" / stage / f"{name}.nii.gz" for stage in STAGES]


class Drawer:
    """A ``Draw`` by a two-stage bundle. Arguments: as of ``oarseg.inference.Pipeline``."""

    def __init__(self, bundle_root: str | None, device: str, organs: Sequence[str]) -> None:
        # Here, since a data set is otherwise below what runs networks.
        from oarseg.inference import Pipeline
        from oarseg.inference.two_stage import LOCALIZER

        self.pipeline = Pipeline(bundle_root, device, organs, "torch")
        self.localizer = Remembering(self.pipeline.networks[LOCALIZER])
        self.pipeline.networks = {**self.pipeline.networks, LOCALIZER: self.localizer}

    def __call__(self, image: Path, files: Sequence[Path]) -> None:
        """Write what stage 1 and both stages draw on the CT ``image`` to ``files``. Raises OarsegError."""
        from oarseg.images.read import read_image

        ct = read_image(image)
        self.localizer.passes.clear()
        first, second = self.pipeline.stage_one(ct), self.pipeline.segment(ct).label
        for label, path in zip((first, second), files, strict=True):
            write_label(path, label, ct.affine)


class Remembering:
    """A network that computes the same input once: stage 1, which both label maps start from.

    Arrays in, arrays out, as of ``Pipeline.networks``.
    """

    def __init__(self, network: Callable[[np.ndarray], np.ndarray]) -> None:
        self.network = network
        self.passes: list[tuple[np.ndarray, np.ndarray]] = []

    def __call__(self, image: np.ndarray) -> np.ndarray:
        for earlier, answer in self.passes:
            if np.array_equal(earlier, image):
                return answer
        self.passes.append((image, self.network(image)))
        return self.passes[-1][1]


def write_label(path: Path, label: np.ndarray, affine: np.ndarray) -> None:
    """Write a label map (i, j, k) uint8 with its RAS ``affine``, whole or not at all. Raises OutputError."""
    with whole_file(path) as temporary:
        nib.save(nib.Nifti1Image(label.astype(np.uint8), affine), temporary)


def claim(out: Path, source: dict) -> None:
    """Note in ``out`` what its contours come from; raises ConfigError where they come from something else."""
    path = out / SOURCE
    if path.exists():
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"{path} is damaged ({error}); give another folder") from error
        differs = sorted(key for key in source if not isinstance(earlier, dict) or earlier.get(key) != source[key])
        if differs:
            raise ConfigError(f"{out} holds contours made with other {', '.join(differs)}; give another folder")
    elif out.is_dir() and any(out.iterdir()):
        raise OutputError(f"{out} is not empty and holds no {SOURCE}; give another folder")
    write_json(path, source)


def draw_all(work: Iterable[tuple[Path, list[Path]]], make: Callable[[], Draw], jobs: int) -> int:
    """Draw every case whose files are not there yet, or not whole, ``jobs`` at a time; returns how many were drawn."""
    todo = [(image, files) for image, files in work if not all(map(_is_whole, files))]
    if not todo:
        return 0
    if jobs == 1:
        draw = make()
        for image, files in tqdm(todo, unit="case"):
            draw(image, files)
        return len(todo)
    # Not forked: OpenMP and CUDA do not survive it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(todo)), context, _begin, (make, jobs)) as pool:
        try:
            list(tqdm(pool.map(_draw, *zip(*todo, strict=True)), total=len(todo), unit="case"))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return len(todo)


def _is_whole(file: Path) -> bool:
    """Whether a label map is there and can be read to its end; reports one that cannot."""
    if not file.is_file():
        return False
    try:
        _ = np.asarray(nib.load(file).dataobj)
        # nibabel stops before the end, where gzip's checksum lies.
        with gzip.open(file) as stream:
            while stream.read(1 << 20):
                pass
    except (OSError, EOFError, ValueError, ImageFileError, zlib.error) as error:
        note = f"note: {file.parent.name}/{file.name} is not whole ({error}); it is drawn again"
        tqdm.write(printable(note), file=sys.stderr)
        return False
    return True


_drawer: list[Draw] = []


def _begin(make: Callable[[], Draw], jobs: int) -> None:
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    _drawer.append(make())


def _draw(image: Path, files: list[Path]) -> None:
    _drawer[0](image, files)
