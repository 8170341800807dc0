"""
Golden values for src/data/transforms/golden.test.ts: torchvision's transforms of Pillow images with given parameters, as
SHA-256 of the bytes. The images are made by a formula that the test repeats (`images_by_formula.py`).

    python3 test/golden/make_transforms.py        (Pillow 9.4, torchvision 0.14)
"""
import random
from unittest import mock

import torch
from images_by_formula import digest, noise, save
from torchvision import transforms as T
from torchvision.transforms import functional as F

dice = random.Random(17)


def word():
    """A draw as the library's: a multiple of 2^-32."""
    return dice.randrange(2**32) / 2**32


cases = []


def add(kind, image, seed, result, **given):
    cases.append(dict(kind=kind, width=image.width, height=image.height, seed=seed, **given, hash=digest(result)))


# Jitter: the adjustments in the order in which they are applied, alone and together.
adjust = dict(brightness=F.adjust_brightness, contrast=F.adjust_contrast, saturation=F.adjust_saturation, hue=F.adjust_hue)
jitters = [[(name, factor)] for name, factors in dict(
    brightness=[0, 0.3, 0.77, 1.4, 3.1], contrast=[0, 0.2, 0.9, 1.33, 2.5], saturation=[0, 0.45, 0.99, 1.2, 4],
    hue=[-0.5, -0.31, -0.1, -0.001, 0.05, 0.2, 0.4999, 0.5]).items() for factor in factors]  # fmt: skip
for _ in range(10):
    names = list(adjust)
    dice.shuffle(names)
    jitters.append([(name, round(dice.uniform(-0.5, 0.5) if name == 'hue' else dice.uniform(0.2, 1.8), 6)) for name in names])
for n, steps in enumerate(jitters):
    image = noise(160 + n, 131, n)
    result = image
    for name, factor in steps:
        result = adjust[name](result, factor)
    add('jitter', image, n, result, steps=steps)
# One channel: only brightness and contrast change it.
for n, steps in enumerate(jitters[-3:]):
    image = noise(33, 31, 50 + n)
    result = image.convert('L')
    for name, factor in steps:
        result = adjust[name](result, factor)
    add('grayJitter', image, 50 + n, result, steps=steps)
for n, channels in enumerate([1, 3]):
    image = noise(77, 55, 60 + n)
    add('grayscale', image, 60 + n, F.to_grayscale(image, channels), channels=channels)
# Rotation.
modes = dict(nearest=T.InterpolationMode.NEAREST, bilinear=T.InterpolationMode.BILINEAR)
angles = [0, 1, -1, 7.3, -29.99, 45, 89.5, 90, 135.25, 180, -180, 270, 359.99, -360]
for n, angle in enumerate(angles):
    for size in [(64, 64), (51, 38), (38, 51), (1, 7)]:
        image = noise(*size, 70 + n)
        for name, mode in modes.items():
            add('rotation', image, 70 + n, F.rotate(image, angle, mode), degrees=angle, interpolation=name)
# The window of RandomResizedCrop from given draws, and its pixels.
default = dict(scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))
crops = [((500, 375), 224, default), ((341, 256), 224, default), ((256, 341), (64, 96), default), ((32, 32), 32, default),
         ((400, 100), 60, dict(scale=(0.9, 1.0), ratio=(0.75, 1.3))), ((100, 400), 60, dict(scale=(0.9, 1.0), ratio=(0.75, 1.3))),
         ((90, 90), 50, dict(scale=(1.0, 1.0), ratio=(1.5, 2.0))), ((90, 90), 50, dict(scale=(0.2, 0.3), ratio=(1.0, 1.0))),
         ((60, 75), 40, dict(scale=(1.0, 1.0), ratio=(0.2, 3.0))), ((1, 1), 3, default), ((2, 900), 5, default)]  # fmt: skip
for n, (size, to, options) in enumerate(crops * 3):
    image = noise(*size, 200 + n)
    draws = []

    def draw():
        draws.append(word())
        return draws[-1]

    class Empty:
        def uniform_(self, least, most):
            return torch.tensor(float(least) + (float(most) - float(least)) * draw(), dtype=torch.float64)

    def randint(least, bound, size):
        return torch.tensor(int(draw() * bound))

    with mock.patch('torch.empty', lambda *_: Empty()), mock.patch('torch.randint', randint):
        i, j, h, w = T.RandomResizedCrop.get_params(image, list(options['scale']), list(options['ratio']))
    add('resizedCrop', image, 200 + n, F.resized_crop(image, i, j, h, w, [to, to] if isinstance(to, int) else list(to)),
        size=to, **options, draws=draws, window=[i, j, h, w])  # fmt: skip
# Scale jitter and its crop.
for n, (size, side, crop) in enumerate([((500, 375), 256, 224), ((375, 500), 511, 224), ((341, 256), 256, 224), ((300, 300), 301, 224),
                                        ((256, 256), 256, 256)]):  # fmt: skip
    image = noise(*size, 300 + n)
    large = F.resize(image, side)
    top, left = dice.randrange(large.height - crop + 1), dice.randrange(large.width - crop + 1)
    add('scaleJitter', image, 300 + n, F.crop(large, top, left, crop, crop), side=side, crop=crop, top=top, left=left)
save('transforms.json', cases)
