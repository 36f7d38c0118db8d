#!/usr/bin/env bash
# Pillow garbles an uncompressed TIFF with Orientation 5 to 8 when it is opened by its path, and turns it rightly from a file.
#
# Seen with Pillow 13.0.0, NumPy 2.4.6 (Linux, x86-64, Python 3.11).
#
# Behaviour: since Pillow turns TIFF files by their tag, size is the turned one as soon as the file is open. Opened by its path,
# an uncompressed image of mode L, P or RGBA is mapped into memory, at the turned size: the rows are cut at the wrong places and
# the result has the shape of before. Opened as a stream, compressed, or of mode RGB, it is right.
#
# Seen: 6 rows of 4 with Orientation 6: shape (4, 6) and the pixels of np.rot90(x, -1) from a stream; shape (6, 4) and rows that
# begin 18 12 6 0 from a path. The same for L, P and RGBA and the orientations 5 to 8; 1 and 3 are right.
#
# Why it matters: label masks are the files that are kept as one channel without compression. The two ways of opening are often
# mixed in one program, as numpy.asarray(Image.open(path)) and a loader of bytes.
#
# Exits with 1 when that has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet numpy==2.4.6 pillow==13.0.0
"$place/venv/bin/python" - <<'PYTHON'
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

x = np.arange(24, dtype=np.uint8).reshape(6, 4)


def both(image, **settings):
    """The pixels, opened by path and as a stream."""
    with tempfile.TemporaryDirectory() as folder:
        image.save(path := Path(folder, "mask.tif"), **settings)
        with path.open("rb") as file:
            return np.array(Image.open(path)), np.array(Image.open(file))


for mode in ("L", "P", "RGBA", "RGB"):
    image = Image.fromarray(x if len(mode) == 1 else np.stack([x] * len(mode), axis=-1))
    if mode == "P":
        image.putpalette(list(range(256)) * 3)
    for orientation in (1, 3, 5, 6, 8):
        for compression in (None, "tiff_lzw"):
            by_path, by_file = both(image, tiffinfo={274: orientation}, compression=compression)
            garbled = by_path.shape != by_file.shape
            assert garbled or np.array_equal(by_path, by_file)
            assert garbled is (mode != "RGB" and orientation >= 5 and compression is None), (mode, orientation, compression)
by_path, by_file = both(Image.fromarray(x), tiffinfo={274: 6})
print("stream", by_file.shape, by_file[0].tolist(), "path", by_path.shape, by_path[0].tolist())
assert np.array_equal(by_file, np.rot90(x, -1)) and by_path[0].tolist() == [18, 12, 6, 0]
PYTHON
