#!/usr/bin/env bash
# oxipng gives label masks other ids: up to 16 grey levels become a palette in an order of its own.
#
# Seen with oxipng 9.1.1 (pyoxipng), Pillow 13.0.0, NumPy 2.4.6 (Linux, x86-64, Python 3.11).
#
# Behaviour: a grey PNG of at most 16 levels is stored as a palette of 4 bits or fewer, because that is smaller; what is
# shown stays the same, what is stored does not. Label masks are read as stored by nearly everybody, so the ids change. A
# mask of 0 and 255 becomes an image of 1 bit. With more than 16 levels, as the 20 train ids of Cityscapes, the mask stays
# grey, so that a data set can be half changed. Palettes in colour, as those of PASCAL VOC, are put in another order, too.
#
# Seen: ids 0 1 2 3 11 and 0 7 26 33: mode P, 31 % of the values as they were; 0 and 255: mode 1; 0 to 18 with 255: mode L,
# unchanged; five colours of VOC: 69 % of the indices as they were. Grey levels and colours are right in every case.
#
# Why it matters: a tool that is called lossless, run over a folder of images, changes what a network is trained on. The grey
# level or the colour is the id, the index is not.
#
# Exits with 1 when that has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet numpy==2.4.6 pillow==13.0.0 pyoxipng==9.1.1
"$place/venv/bin/python" - <<'PYTHON'
import io

import numpy as np
import oxipng
from PIL import Image


def optimised(image):
    """Mode, values as stored, and greys of an image that oxipng has written again at its default level."""
    plain = io.BytesIO()
    image.save(plain, "PNG")
    again = Image.open(io.BytesIO(oxipng.optimize_from_memory(plain.getvalue())))
    return again.mode, np.asarray(again).astype(int), again


def mask(ids):
    blocks = np.random.default_rng(0).geometric(0.3, (60, 80)) - 1
    return np.kron(np.array(ids, np.uint8)[np.minimum(blocks, len(ids) - 1)], np.ones((6, 6), np.uint8))


for ids, mode in (([0, 1, 2, 3, 11], "P"), ([0, 7, 26, 33], "P"), ([0, 255], "1"), ([*range(19), 255], "L")):
    truth = mask(ids)
    got, values, again = optimised(Image.fromarray(truth))
    same = float((values == truth).mean())
    print(ids, got, f"{same:.0%} of the values as they were")
    assert got == mode and np.array_equal(np.asarray(again.convert("L")), truth)
    assert (same == 1) if mode == "L" else (same < 0.5)
colours = np.zeros((256, 3), np.uint8)
colours[:5] = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]
truth = mask([0, 1, 2, 3, 4])
voc = Image.fromarray(truth)
voc.putpalette(colours.ravel().tolist())
got, values, again = optimised(voc)
print("colours", got, f"{float((values == truth).mean()):.0%} of the indices as they were")
assert got == "P" and (values == truth).mean() < 0.75 and np.array_equal(np.asarray(again.convert("RGB")), colours[truth])
PYTHON
