"""
Writes test/golden/images/ and images.json: images in the formats that people use, and for each the SHA-256 of what
Pillow decodes (`convert('RGB')`) and of torchvision's Resize(256) + CenterCrop(224) of it. See src/images/decode.test.ts.

    python3 test/golden/make_images.py        (Pillow 9.4 with libjpeg-turbo and libwebp, torchvision 0.14)
"""
import hashlib
import json
import os
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms, ImageOps
from torchvision import transforms as T

folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'images')
os.makedirs(folder, exist_ok=True)
path = lambda name: os.path.join(folder, name)
evaluation = T.Compose([T.Resize(256), T.CenterCrop(224)])
expected = {}


def photo(width, height, seed):
    """Waves of several sizes, rectangles with hard edges, and a little noise."""
    r = np.random.default_rng(seed)
    out = np.zeros((height, width, 3))
    for s in (4, 8, 16, 32):
        shape = (max(2, height * s // 512) + 2, max(2, width * s // 512) + 2, 3)
        waves = r.normal(size=shape).astype('f4')
        out += np.stack([np.asarray(Image.fromarray(waves[..., c]).resize((width, height), Image.BICUBIC))
                         for c in range(3)], -1) / np.sqrt(s) * 2  # fmt: skip
    for _ in range(6):
        x, y = r.integers(0, width - 20), r.integers(0, height - 20)
        out[y : y + r.integers(8, 120), x : x + r.integers(8, 120)] += r.normal(size=3)
    out += r.normal(size=out.shape) * 0.02
    return Image.fromarray(((out - out.mean()) / out.std() * 55 + 120).clip(0, 255).astype('u1'))


def digest(image):
    return hashlib.sha256(np.asarray(image).tobytes()).hexdigest()[:16]


def note(name, image, **more):
    more['gray'] = digest(image.convert('L'))
    expected[name] = dict(width=image.width, height=image.height, pixels=digest(image),
                          evaluation=digest(evaluation(image)), **more)  # fmt: skip


def save(name, image, **options):
    image.save(path(name), **options)
    note(name, Image.open(path(name)).convert('RGB'))


def chunk(kind, content):
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))


large = photo(500, 375, 1)
save('420.jpg', large, quality=75)
save('444.jpg', photo(375, 500, 2), quality=80, subsampling=0)
save('422-odd.jpg', photo(333, 251, 3), quality=85, subsampling=1)
save('progressive.jpg', photo(500, 333, 4), quality=75, progressive=True)
save('gray.jpg', photo(427, 640, 5).convert('L'), quality=75)
save('cmyk.jpg', photo(300, 225, 6).convert('CMYK'), quality=80)
save('best.jpg', photo(97, 101, 7), quality=100, subsampling=0)
save('tiny.jpg', photo(24, 21, 8), quality=90)
# Pillow and torchvision ignore color profiles. This one would change the colors: sRGB with red and blue swapped.
profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes())
profile = bytes(profile).replace(b'rXYZ', b'@@@@').replace(b'bXYZ', b'rXYZ').replace(b'@@@@', b'bXYZ')
save('profile.jpg', photo(120, 90, 9), icc_profile=profile)
save('lossy.webp', photo(500, 375, 10), quality=80)
save('lossless.webp', photo(90, 70, 11), lossless=True)
save('animated.webp', photo(80, 60, 12), save_all=True, append_images=[photo(80, 60, 13)], lossless=True)
save('rgb.png', photo(181, 133, 14), optimize=True)
save('palette.png', photo(300, 225, 15).convert('P', palette=Image.ADAPTIVE))
small = photo(60, 44, 16)
alpha = Image.fromarray((np.arange(60 * 44).reshape(44, 60) % 256).astype('u1'))
rgba = small.copy()
rgba.putalpha(alpha)
save('alpha.png', rgba)
save('alpha.webp', rgba, lossless=True, exact=True)
gray_alpha = small.convert('L')
gray_alpha.putalpha(alpha)
save('gray-alpha.png', gray_alpha)
save('gray.png', small.convert('L'))
save('one-bit.png', small.convert('1'))
save('transparent-palette.png', small.convert('P', palette=Image.ADAPTIVE), transparency=7)
save('animation.gif', photo(80, 60, 17), save_all=True, append_images=[photo(80, 60, 18)])
save('lzw.tif', small, compression='tiff_lzw')
save('cmyk.tif', small.convert('CMYK'))
# Pillow reads 16-bit RGB by its high bytes, and 16-bit gray wrongly: what it should be is computed here.
deep = np.random.default_rng(19).integers(0, 65536, (44, 60, 3)).astype('>u2')
for name, kind, values in (('rgb16.png', 2, deep), ('gray16.png', 0, deep[..., :1])):
    rows = b''.join(b'\0' + row.tobytes() for row in values)
    with open(path(name), 'wb') as file:
        file.write(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 60, 44, 16, kind, 0, 0, 0))
                   + chunk(b'IDAT', zlib.compress(rows, 9)) + chunk(b'IEND', b''))  # fmt: skip
    high = (values >> 8).astype('u1')
    note(name, Image.fromarray(np.repeat(high, 3 // high.shape[2], axis=2)))
assert np.array_equal(np.asarray(Image.open(path('rgb16.png'))), (deep >> 8).astype('u1'))
# Orientations: ours is applied unless told otherwise, as exif_transpose does.
for orientation in range(1, 9):
    name = f'orientation-{orientation}.jpg'
    exif = small.getexif()
    exif[0x112] = orientation
    small.save(path(name), exif=exif, quality=90)
    image = Image.open(path(name))
    note(name, ImageOps.exif_transpose(image).convert('RGB'), ignored=digest(image.convert('RGB')))
# Files that are only read here: a photo of 60×44 pixels, written by other versions of the same programs.
for name in sorted(os.listdir(path('60x44'))):
    note('60x44/' + name, Image.open(path('60x44/' + name)).convert('RGB'))
with open(os.path.join(folder, '..', 'images.json'), 'w') as file:
    file.write('{\n' + ',\n'.join(f'  "{k}": {json.dumps(v)}' for k, v in sorted(expected.items())) + '\n}\n')
print(len(expected), 'images,', sum(os.path.getsize(path(f)) for f in expected), 'bytes')
