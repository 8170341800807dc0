#!/usr/bin/env python3
"""Writes protocol.json: class probabilities of whole evaluations by the paper's protocols, from PyTorch, torchvision and
Pillow, and the places of crops.

Images and weights are formulas (make_dense.py), which src/evaluation/evaluate.test.ts repeats.

    /usr/bin/python3 make_protocol.py
"""
import json

import numpy
import torch
import torchvision.transforms.functional as TF
from make_dense import NETWORKS, TRAINING, dense, fill
from PIL import Image

MEAN, STD = [0.4, 0.5, 0.45], [0.2, 0.25, 0.3]
IMAGES = [(37, 50), (61, 40), (30, 30)]
PROTOCOLS = [
    {},
    {"flip": True},
    {"dense": True, "scales": [30], "flip": False},
    {"dense": True, "scales": [26, 31]},
    {"crops": 10, "scales": [27]},
    {"crops": 10, "scales": [27], "flip": False},
    {"crops": 50, "scales": [26, 31, 40]},
    {"dense": True, "crops": 50, "scales": [26, 33]},
]


def image_of(index, height, width):
    at = numpy.arange(height * width * 3)
    return Image.fromarray(((at * 31 + (at // 97) ** 2 + index * 59) % 256).astype("uint8").reshape(height, width, 3))


def tensor_of(image):
    return TF.normalize(TF.to_tensor(image), MEAN, STD).unsqueeze(0).double()


def grid(side, size):
    return [round((side - size) * i / 4) for i in range(5)]


def mean(values):
    return torch.stack(values).mean(0)


def softmax_of(model, image, dense_too=False):
    images = tensor_of(image)
    return torch.softmax(dense(model, images) if dense_too else model(images), 1)[0]


def posterior(model, image, protocol):
    scales = protocol.get("scales", [max(TRAINING)])
    is_dense = protocol.get("dense", False)
    crops = protocol.get("crops", 0 if is_dense else 1)
    flip = protocol.get("flip", is_dense or crops > 1)
    wholes, parts = [], []
    for scale in scales:
        resized = TF.resize(image, scale, TF.InterpolationMode.BILINEAR)
        for seen in [resized, TF.hflip(resized)] if flip and is_dense else [resized] if is_dense else []:
            wholes.append(softmax_of(model, seen, True))
        if crops == 1:
            views = [TF.center_crop(resized, TRAINING)]
        elif crops == 10:
            views = list(TF.five_crop(resized, TRAINING))
        elif crops == 50:
            rows, columns = grid(resized.height, TRAINING[0]), grid(resized.width, TRAINING[1])
            views = [TF.crop(resized, top, left, *TRAINING) for top in rows for left in columns]
        else:
            views = []
        for view in views:
            parts += [softmax_of(model, seen) for seen in ([view, TF.hflip(view)] if flip else [view])]
    return mean([mean(part) for part in (wholes, parts) if part])


def main():
    with torch.no_grad():
        for model in NETWORKS.values():
            model.double().eval()
            fill(model)
        cases = []
        for networks in (["split"], ["small", "pooled"]):
            for protocol in PROTOCOLS:
                answers = []
                for index, (height, width) in enumerate(IMAGES):
                    image = image_of(index, height, width)
                    whole = mean([posterior(NETWORKS[name], image, protocol) for name in networks])
                    answers.append([float(f"{value:.7g}") for value in whole])
                cases.append({"networks": networks, "protocol": protocol, "posteriors": answers})
    offsets = [{"side": side, "size": size, "starts": grid(side, size)} for side in range(224, 246) for size in (224, 221)]
    offsets += [{"side": side, "size": 224, "starts": grid(side, 224)} for side in (256, 341, 343, 384, 512, 683)]
    # The corners and the center of torchvision's FiveCrop, read from an image of coordinates.
    places = []
    for height, width in ((256, 341), (257, 343), (24, 33)):
        size = (24, 20)
        rows = torch.arange(height).reshape(1, -1, 1).expand(1, height, width)
        columns = torch.arange(width).reshape(1, 1, -1).expand(1, height, width)
        crops = TF.five_crop(torch.cat([rows, columns]), size)
        places.append({"sides": [height, width], "size": size, "places": [crop[:, 0, 0].tolist() for crop in crops]})
    data = {"images": IMAGES, "mean": MEAN, "std": STD, "cases": cases, "offsets": offsets, "places": places}
    with open("protocol.json", "w") as file:
        lines = json.dumps(data, separators=(",", ":"))
        file.write(lines.replace('{"networks"', '\n{"networks"').replace('{"side', '\n{"side') + "\n")


if __name__ == "__main__":
    main()
