"""Pillow as `bench/prepare.ts` times it: one request per line, one answer per line.

make: writes JPEGs of 500 x 375 pixels, with gradients, edges and noise, of about 100 kB.
decode, prepare: decodes every `of`-th file of a folder from `part` on; `prepare` also resizes to a shorter side of 256.
"""
import json
import os
import sys
import time

import numpy as np
import PIL
from PIL import Image


def make(folder, count):
    rng = np.random.default_rng(0)
    for i in range(count):
        place = os.path.join(folder, "ab"[i % 2])
        os.makedirs(place, exist_ok=True)
        small = Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8))
        smooth = np.asarray(small.resize((500, 375), Image.BICUBIC), dtype=np.int16)
        noisy = smooth + rng.normal(0, 8, smooth.shape).astype(np.int16)
        image = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
        image.save(os.path.join(place, f"{i:05d}.jpg"), quality=90)


def work(folder, part, of, resize):
    files = sorted(os.path.join(at, name) for at, _, names in os.walk(folder) for name in names)
    start, busy = time.perf_counter(), time.process_time()
    for path in files[part::of]:
        with Image.open(path) as file:
            image = file.convert("RGB")
        if resize:
            width, height = image.size
            short = min(width, height)
            image.resize((width * 256 // short, height * 256 // short), Image.BILINEAR).tobytes()
    return time.perf_counter() - start, time.process_time() - busy


print(json.dumps({"pillow": PIL.__version__}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if request["command"] == "make":
        make(request["folder"], request["count"])
        answer = {}
    else:
        resize = request["command"] == "prepare"
        seconds, busy = work(request["folder"], request["part"], request["of"], resize)
        answer = {"seconds": seconds, "busy": busy}
    print(json.dumps(answer), flush=True)
