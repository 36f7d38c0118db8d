#!/usr/bin/env bash
# Pillow reads one in twelve damaged PNG masks without an error, and with other labels; OpenCV refuses all of them.
#
# Seen with Pillow 13.0.0, OpenCV 5.0.0.93, NumPy 2.4.6 (Linux, x86-64, Python 3.11).
#
# Behaviour: one bit of the compressed pixels is turned, so the checksum of the chunk is wrong. Pillow reads on as long as the
# pixels can be decompressed.
#
# Seen: a mask of 12 ids in blocks, 240x320, 2089 bytes: of 697 damaged copies Pillow refuses 640 and reads 56 with wrong ids;
# OpenCV refuses 697.
#
# Why it matters: a bad disk or transfer changes labels in silence. Opening and loading every file of a data set, as many checks
# do, does not find it; comparing the checksums of the chunks with zlib.crc32 does.
#
# Exits with 1 when that has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet numpy==2.4.6 pillow==13.0.0 opencv-python-headless==5.0.0.93
"$place/venv/bin/python" - <<'PYTHON'
import io
import os

os.environ["OPENCV_LOG_LEVEL"] = "SILENT"

import cv2
import numpy as np
from PIL import Image

rng = np.random.default_rng(0)
mask = np.kron(rng.integers(0, 12, (30, 40)), np.ones((8, 8), int)).astype(np.uint8)
file = io.BytesIO()
Image.fromarray(mask).save(file, "PNG")
good = file.getvalue()
first = good.index(b"IDAT") + 4
length = int.from_bytes(good[first - 8 : first - 4], "big")
counts = dict.fromkeys(("pillow refuses", "pillow wrong", "pillow right", "opencv refuses", "opencv reads"), 0)
for place in range(first, first + length, max(1, length // 600)):
    bad = bytearray(good)
    bad[place] ^= 1 << int(rng.integers(8))
    try:
        read = np.asarray(Image.open(io.BytesIO(bytes(bad))))
        counts["pillow right" if np.array_equal(read, mask) else "pillow wrong"] += 1
    except (OSError, SyntaxError, ValueError):
        counts["pillow refuses"] += 1
    other = cv2.imdecode(np.frombuffer(bytes(bad), np.uint8), cv2.IMREAD_UNCHANGED)
    counts["opencv refuses" if other is None else "opencv reads"] += 1
total = counts["opencv refuses"]
print(length, counts)
assert counts["opencv reads"] == 0 and 0.04 < counts["pillow wrong"] / total < 0.15
PYTHON
