#!/usr/bin/env python3
"""Writes vgg.safetensors: what PyTorch computes with the paper's networks A, B, D and E at 32², 64² and 224².

    python3 test/golden/make_vgg.py [LETTER...]      (needs torch and numpy; made with torch 1.13 on two threads;
                                                      ten minutes, 6 GB of memory)

Weights, images and labels are not stored: both sides compute them with the same formula (test/vgg-formula.ts mirrors
`draw`, `weight_of`, `images_of` and `labels_of`). What the formula cannot give is stored: the biases of the convolutions
and the number of the draw of each of their filters. For each network and side, in float32 with torch.nn's own modules
and without dropout:

A/biases, A/attempts   of all convolutions, one after the other
A/hidden               how often the biases of each hidden linear layer were drawn again
A/32/logits            [2, 1000] of two images
A/32/loss              mean cross-entropy of the two
A/32/gradients         a row per parameter: norm, largest absolute value, then values at SAMPLES places (`places`)
A/224/step/loss, A/224/step/weights, A/224/step/updates
                       a step of SGD with momentum on eight images, the two in turns with a label each: rows as above,
                       for the weights after the step and for what the step added to them

The margin. At 224² there are millions of decisions of ReLUs and max-pools. In a random network, rounding flips some of
them, each of which moves a gradient of the first layers by a thousandth of its largest value. So a channel's threshold
stands in the widest gap between its values near their median, and a filter before a max-pool is drawn again while in a
window the largest two values are closer than POOL_MARGIN. The biases of a hidden layer are drawn again while one of its
values is near 0. One network serves all sides. Gradients in float64 must agree within MARGIN.
"""

import copy
import json
import math
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F
from make import write_safetensors

PATH = pathlib.Path(__file__).with_name("vgg.safetensors")
CONFIGURATIONS = {
    "A": [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "B": [64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "D": [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"],
    "E": [64, 64, "M", 128, 128, "M"] + [256] * 4 + ["M"] + [512] * 4 + ["M"] + [512] * 4 + ["M"],
}
CLASSES = 1000
HIDDEN = 4096
SETTINGS = {
    "sides": [32, 64, 224],
    "images": 2,
    "samples": 64,
    "step": {"side": 224, "images": 8, "lr": 0.01, "momentum": 0.9},
}
# Distances of values from a decision, over the standard deviation of a layer's values.
RELU_MARGIN, POOL_MARGIN = 5e-5, 5e-5
# Largest difference to float64, over the largest value of a tensor.
MARGIN = {"logits": 8e-6, "gradients": 1e-5}

# The formula -------------------------------------------------------------------------------------------------------

# Streams of draws. A parameter has its position in the network, plus 64 for each time that a filter was drawn again.
CELLS, NOISE, LABELS, PLACES = 1000000, 1000001, 1000002, 1000003


def mix(x):
    """A 32-bit integer hash (lowbias32 of Chris Wellons' hash-prospector)."""
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(0x7FEB352D)
    x = x ^ (x >> np.uint32(15))
    x = x * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def draw(stream, indices):
    return mix(indices.astype(np.uint32) ^ mix(np.array([stream], np.uint32)))


def weight_of(parameter, shape, attempts=()):
    """Uniform in ±sqrt(6 / fan in), which keeps the size of values (He et al. 2015); biases in ±0.1."""
    scale = np.float32(0.1 if len(shape) == 1 else math.sqrt(6 / math.prod(shape[1:])))
    values = np.empty(math.prod(shape), np.float32)

    def fill(stream, first, end):
        bits = draw(stream, np.arange(first, end)) >> np.uint32(8)
        values[first:end] = (bits.astype(np.int32) - 2**23).astype(np.float32) * np.float32(2.0**-23) * scale

    for first in range(0, values.size, 2**20):
        fill(parameter, first, min(first + 2**20, values.size))
    size = math.prod(shape[1:])
    for output, attempt in enumerate(attempts):
        if attempt > 0:
            fill(parameter + 64 * int(attempt), output * size, (output + 1) * size)
    return torch.from_numpy(values).reshape(shape)


def images_of(count, side):
    """Bytes over 255: a pattern of 8×8 cells in each channel, under noise. Two images take turns."""
    n, c, y, x = np.meshgrid(np.arange(count) % 2, np.arange(3), np.arange(side), np.arange(side), indexing="ij")
    cells = draw(CELLS, ((3 * n + c) * 8 + 8 * y // side) * 8 + 8 * x // side) % np.uint32(64)
    noise = draw(NOISE, ((3 * n + c) * side + y) * side + x) % np.uint32(192)
    return torch.from_numpy((cells + noise).astype(np.float32)) / 255


def labels_of(count):
    return torch.from_numpy((draw(LABELS, np.arange(count)) % np.uint32(CLASSES)).astype(np.int64))


def places(parameter, size):
    indices = 64 * parameter + np.arange(SETTINGS["samples"])
    return torch.from_numpy((draw(PLACES, indices) % np.uint32(size)).astype(np.int64))


# The margin --------------------------------------------------------------------------------------------------------


def channels(maps):
    """[channels, values] of maps [n, channels, height, width] of several sides."""
    return torch.cat([x.transpose(0, 1).flatten(1) for x in maps], 1)


def thresholds(maps):
    """For each channel the middle of the widest gap between its values, from a third below to a third above the median."""
    values = channels(maps).sort(1).values
    count = values.shape[1]
    near = values[:, count // 3 : count - count // 3]
    width, place = (near[:, 1:] - near[:, :-1]).max(1)
    middle = (near.gather(1, place[:, None]) + near.gather(1, place[:, None] + 1))[:, 0] / 2
    return middle, width / 2, (values - middle[:, None]).std()


def window_gaps(maps, threshold):
    """For each channel the least distance of a window's largest value above the threshold from its second one."""
    windows = [x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4) for x in maps]
    largest = torch.cat([w.topk(2, -1).values.transpose(0, 1).flatten(1, 3) for w in windows], 1)
    gaps = largest[..., 0] - largest[..., 1]
    return gaps.masked_fill(largest[..., 0] < threshold[:, None], math.inf).min(1).values


def build_layer(parameter, shape, inputs, pooled):
    """A layer's draws, thresholds and outputs."""
    attempts = np.zeros(shape[0], np.int64)
    found = [F.conv2d(x, weight_of(parameter, shape), padding=1) for x in inputs]
    middle, margin, deviation = thresholds(found)
    open_ = torch.arange(shape[0])
    while pooled:
        near = margin[open_] < RELU_MARGIN * deviation
        near |= window_gaps([x[:, open_] for x in found], middle[open_]) < POOL_MARGIN * deviation
        open_ = open_[near]
        if len(open_) == 0:
            break
        attempts[open_.numpy()] += 1
        weight = weight_of(parameter, shape, attempts)[open_]
        for x, y in zip(inputs, found):
            y[:, open_] = F.conv2d(x, weight, padding=1)
        middle[open_], margin[open_], _ = thresholds([x[:, open_] for x in found])
    assert margin.min() >= RELU_MARGIN * deviation, f"parameter {parameter}: a threshold has too little margin"
    print(f"    parameter {parameter}: margin {margin.min() / deviation:.1e}, {attempts.sum()} filters drawn again", flush=True)
    outputs = [F.relu(x - middle[:, None, None]) for x in found]
    return attempts, -middle, [F.max_pool2d(x, 2) for x in outputs] if pooled else outputs


def build_hidden(parameter, inputs):
    """How often the biases of a hidden linear layer were drawn again until no value is near 0, and its outputs."""
    found = [F.linear(x, weight_of(parameter, (HIDDEN, x.shape[1]))) for x in inputs]
    for attempt in range(100):
        biases = weight_of(parameter + 1, (HIDDEN,), [attempt] * HIDDEN)
        values = [y + biases for y in found]
        margin = min((y.abs().min() / y.std()).item() for y in values)
        if margin >= RELU_MARGIN:
            print(f"    parameter {parameter + 1}: margin {margin:.1e}, drawn again {attempt} times", flush=True)
            return attempt, [F.relu(y) for y in values]
    raise AssertionError(f"parameter {parameter + 1}: too little margin")


def build(letter):
    """The draws and biases of the convolutions of a network, and the draws of its hidden layers' biases."""
    maps = [images_of(SETTINGS["images"], side) for side in SETTINGS["sides"]]
    entries = CONFIGURATIONS[letter]
    layers, inputs = [], 3
    for entry, following in zip(entries, entries[1:]):
        if entry != "M":
            *layer, maps = build_layer(2 * len(layers), (entry, inputs, 3, 3), maps, following == "M")
            layers.append(layer)
            inputs = entry
    vectors, hidden = [x.flatten(1) for x in maps], []
    for i in range(2):
        attempt, vectors = build_hidden(2 * (len(layers) + i), vectors)
        hidden.append(attempt)
    return layers, hidden


# What PyTorch computes ---------------------------------------------------------------------------------------------


def value_of(parameter, shape, built):
    """A new tensor."""
    layers, hidden = built
    linear = parameter - 2 * len(layers)
    if linear >= 0:
        drawn = linear in (1, 3) and hidden[linear // 2]
        return weight_of(parameter, shape, [drawn] * shape[0] if drawn else ())
    attempts, biases = layers[parameter // 2]
    return biases.clone() if parameter % 2 else weight_of(parameter, shape, attempts)


class Vgg(torch.nn.Module):
    """torchvision's VGG without the pool that fits any image to 7×7."""

    def __init__(self, letter, side, built):
        super().__init__()
        layers, channels = [], 3
        for entry in CONFIGURATIONS[letter]:
            if entry == "M":
                layers.append(torch.nn.MaxPool2d(2, 2))
            else:
                layers += [torch.nn.Conv2d(channels, entry, 3, padding=1, device="meta"), torch.nn.ReLU()]
                channels = entry
        sizes = [channels * (side // 32) ** 2, HIDDEN, HIDDEN, CLASSES]
        hidden = []
        for inputs, outputs in zip(sizes, sizes[1:]):
            hidden += [torch.nn.Linear(inputs, outputs, device="meta"), torch.nn.ReLU(), torch.nn.Dropout()]
        self.features = torch.nn.Sequential(*layers)
        self.classifier = torch.nn.Sequential(*hidden[:-2])
        for parameter, (name, tensor) in enumerate(list(self.named_parameters())):
            layer, kind = name.rsplit(".", 1)
            value = value_of(parameter, tensor.shape, built)
            setattr(self.get_submodule(layer), kind, torch.nn.Parameter(value))
        self.eval()

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def rows(tensors):
    """The norm is summed in float64: in float32, a sum of many millions of squares is off by one in ten thousand."""
    return [
        [torch.linalg.vector_norm(t, dtype=torch.float64), t.abs().max(), *t.flatten()[places(parameter, t.numel())]]
        for parameter, t in enumerate(tensors)
    ]


def gradients(net, images, labels):
    logits = net(images)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    found = {"logits": logits.detach().tolist(), "loss": [loss.item()], "gradients": rows(p.grad for p in net.parameters())}
    net.zero_grad(set_to_none=True)
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in found.items()}


def apart(found, exact):
    """The largest difference over the largest values: of all logits, and of each parameter's gradient."""
    scales = {"logits": exact["logits"].abs().max(), "gradients": exact["gradients"][:, 1:2]}
    # A norm is compared with itself, not with the largest value.
    found["gradients"][:, 0] /= exact["gradients"][:, 0] / exact["gradients"][:, 1]
    exact["gradients"][:, 0] = exact["gradients"][:, 1]
    return {name: ((found[name] - exact[name]) / scale).abs().max().item() for name, scale in scales.items()}


def check(net, images, labels, found):
    exact = gradients(net.double(), images.double(), labels)
    distances = apart(copy.deepcopy(found), exact)
    print("   ", ", ".join(f"{name} within {distance:.1e} of float64" for name, distance in distances.items()), flush=True)
    for name, distance in distances.items():
        assert distance < MARGIN[name], f"{name}: {distance} is above {MARGIN[name]}"


def step(letter, built):
    settings = SETTINGS["step"]
    net = Vgg(letter, settings["side"], built)
    optimizer = torch.optim.SGD(net.parameters(), lr=settings["lr"], momentum=settings["momentum"])
    loss = F.cross_entropy(net(images_of(settings["images"], settings["side"])), labels_of(settings["images"]))
    loss.backward()
    optimizer.step()
    weights = list(net.parameters())
    with torch.no_grad():
        updates = rows(w - value_of(parameter, w.shape, built) for parameter, w in enumerate(weights))
        return {"step/loss": [loss.item()], "step/weights": rows(weights), "step/updates": updates}


def run(letter):
    print(letter)
    built = build(letter)
    layers, hidden = built
    tensors = {
        f"{letter}/attempts": np.concatenate([attempts for attempts, _ in layers]),
        f"{letter}/biases": torch.cat([biases for _, biases in layers]),
        f"{letter}/hidden": np.array(hidden),
    }
    for side in SETTINGS["sides"]:
        net = Vgg(letter, side, built)
        images, labels = images_of(SETTINGS["images"], side), labels_of(SETTINGS["images"])
        found = gradients(net, images, labels)
        logits = found["logits"]
        print(f"{letter} at {side}²: loss {found['loss'].item():.4f}, logits ±{logits.std():.2f}", flush=True)
        check(net, images, labels, found)
        tensors |= {f"{letter}/{side}/{name}": values for name, values in found.items()}
    stepped = step(letter, built)
    print(f"{letter}, step: loss {stepped['step/loss'][0]:.4f}", flush=True)
    return tensors | {f"{letter}/{SETTINGS['step']['side']}/{name}": values for name, values in stepped.items()}


def main():
    torch.set_num_threads(2)
    tensors = {}
    for letter in sys.argv[1:] or CONFIGURATIONS:
        tensors |= run(letter)
        write_safetensors(PATH, tensors, {"torch": torch.__version__, "settings": json.dumps(SETTINGS)})


if __name__ == "__main__":
    main()
