"""
Golden values for src/data/resize.test.ts: Pillow's bilinear resize and torchvision's Resize and CenterCrop, as SHA-256
of the bytes. The images are made by a formula that the test repeats (`images_by_formula.py`), so that only hashes are stored.

    python3 test/golden/make_resize.py        (Pillow 9.4, torchvision 0.14)
"""
from images_by_formula import digest, noise, save
from torchvision import transforms as T

cases = []
# (width, height) of the image, and the exact size to resize to (height, width).
pairs = [
    ((1, 1), (1, 1)), ((1, 1), (7, 5)), ((1, 9), (4, 3)), ((9, 1), (3, 4)), ((2, 2), (3, 3)), ((3, 3), (2, 2)),
    ((5, 7), (5, 7)), ((7, 5), (5, 7)), ((32, 32), (31, 33)), ((33, 31), (16, 8)), ((64, 48), (1, 1)),
    ((64, 48), (1, 100)), ((100, 3), (3, 1)), ((17, 513), (97, 12)), ((300, 200), (299, 201)), ((500, 375), (256, 341)),
    ((375, 500), (341, 256)), ((97, 89), (224, 224)), ((224, 224), (224, 224)), ((640, 480), (13, 17)),
    ((1000, 1), (1, 77)), ((1, 1000), (77, 1)), ((2000, 40), (20, 999)), ((255, 256), (256, 255)), ((1023, 61), (60, 64)),
]  # fmt: skip
for n, (size, to) in enumerate(pairs):
    image = noise(*size, n)
    cases.append(dict(width=size[0], height=size[1], seed=n, resize=list(to), crop=None,
                      size=list(to), hash=digest(T.Resize(to)(image))))  # fmt: skip
# A shorter side, and a crop: even and odd margins, and crops that are larger than the image.
shorter = [
    ((500, 375), 256, 224), ((375, 500), 256, 224), ((500, 333), 256, 224), ((343, 256), 256, 224), ((341, 256), 256, 224),
    ((225, 225), 225, 224), ((227, 230), 227, 224), ((640, 427), 256, 224), ((60, 44), 256, 224), ((1, 1), 256, 224),
    ((3, 700), 256, 224), ((2500, 12), 256, 224), ((12, 2500), 256, 224), ((1600, 1200), 256, 224), ((32, 32), 32, 32),
    ((48, 33), 32, 32), ((31, 97), 32, 32), ((50, 40), 20, 31), ((50, 40), 20, (31, 22)), ((40, 50), 20, (9, 24)),
    ((77, 50), 37, (37, 10)), ((64, 64), 73, 64), ((999, 1001), 73, 64), ((21, 13), 8, 5),
]  # fmt: skip
for n, (size, short, crop) in enumerate(shorter):
    image = noise(*size, 100 + n)
    out = T.Compose([T.Resize(short), T.CenterCrop(crop)])(image)
    cases.append(dict(width=size[0], height=size[1], seed=100 + n, resize=short,
                      crop=[crop, crop] if isinstance(crop, int) else list(crop),
                      size=list(T.Resize(short)(image).size[::-1]), hash=digest(out)))  # fmt: skip
save('resize.json', cases)
