"""Images that scripts and tests make by the same formula, and files of cases with hashes of what becomes of them."""
import hashlib
import json
import os

import numpy as np
from PIL import Image


def noise(width, height, seed):
    """Interleaved RGB bytes from a hash of their position: any wrong weight shows."""
    i = np.arange(width * height * 3, dtype=np.uint64) + np.uint64(seed) * np.uint64(7919)
    h = (i * np.uint64(2654435761)) & np.uint64(0xFFFFFFFF)
    h = ((h ^ (h >> np.uint64(15))) * np.uint64(2246822519)) & np.uint64(0xFFFFFFFF)
    return Image.fromarray((h >> np.uint64(24)).astype(np.uint8).reshape(height, width, 3))


def digest(image):
    return hashlib.sha256(np.asarray(image).tobytes()).hexdigest()[:16]


def save(name, cases):
    """Writes a JSON file next to this one, a case in each line."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), name), 'w') as file:
        file.write('[\n' + ',\n'.join('  ' + json.dumps(case) for case in cases) + '\n]\n')
    print(len(cases), 'cases')
