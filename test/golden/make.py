#!/usr/bin/env python3
"""Writes the golden files: what PyTorch computes, for tests that need neither PyTorch nor Python.

    python3 test/golden/make.py            (needs torch and numpy; made with torch 1.13 on one thread; about 5 minutes)

cases.json          the networks (as the project's own layer specs), seeds and batch sizes, and the loss curves
gradients.safetensors   for each case loss, logits and gradients, computed in float64 and stored as float32, and what
                    cannot be derived from the seed: the chosen biases and the number of the draw of each filter

Images and weights are not stored: both sides draw them from the same counter-based generator (src/data/random.ts,
`philox` here; test/golden.ts mirrors `draw_filters`, `draw_images` and `curve_dataset`).

The margin. A gradient is only comparable where no rounding flips a ReLU or the winner of a max-pool. So every golden
network keeps 1e-4 of a layer's largest pre-activation between each value and 0 where a ReLU follows, and between the
first and the second of each pooling window whose winner is above 0 (or, without a ReLU before the pool, of each).
With hundreds of thousands of decisions no random network has that. It is built, channel by channel from the first
layer on: a channel's bias is moved into the nearest wide enough gap between its values, and where there is none or a
window is too close, its filter is drawn again. Both this script (`margin_of_network`) and the tests check the result. Large
batches repeat `distinct` images (labels differ), since the gaps close as the number of values grows.
"""
import json
import math
import pathlib
import struct

import numpy as np
import torch
import torch.nn.functional as F

FOLDER = pathlib.Path(__file__).parent
MARGIN = 1e-4
# Streams of the generator; the project's own are below 1000.
FILTERS, IMAGES, LABELS, PATTERNS, NOISE = 1000, 1001, 1002, 1003, 1004
INITIALIZATION = 1


# The generator ---------------------------------------------------------------------------------------------------


def philox(counter, seed):
    """Philox 4x32-10. `counter`: four arrays of uint64 below 2^32; yields [..., 4] words."""
    c0, c1, c2, c3 = (np.asarray(c, np.uint64) for c in counter)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (p1 >> np.uint64(32)) ^ c1 ^ np.uint64(k0), p1 & low, (p0 >> np.uint64(32)) ^ c3 ^ np.uint64(k1), p0 & low
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack(np.broadcast_arrays(c0, c1, c2, c3), -1)


def uniform(seed, stream, index, subindices, count):
    """Row i holds the first `count` draws of random(seed, stream, index, subindices[i])."""
    blocks = np.arange(-(-count // 4), dtype=np.uint64)[None, :]
    subindices = np.asarray(subindices, np.uint64)[:, None]
    words = philox((blocks, np.uint64(stream), np.uint64(index), subindices), seed)
    return words.reshape(len(subindices), -1)[:, :count].astype(np.float64) / 2**32


def as_float32(values):
    return torch.from_numpy(values.astype(np.float32))


# Networks --------------------------------------------------------------------------------------------------------


def pair(value):
    return [value, value] if isinstance(value, int) else list(value)


def conv(out, kernel, stride=1, padding=0, bias=True, name=None):
    spec = dict(kind="conv2d", out=out, kernel=pair(kernel), stride=pair(stride), padding=pair(padding), bias=bias)
    return spec | ({"name": name} if name else {})


def pool(kernel, stride=None, padding=0):
    return dict(kind="maxPool2d", kernel=pair(kernel), stride=pair(stride or kernel), padding=pair(padding))


def linear(out, name=None, bias=True):
    return dict(kind="linear", out=out, bias=bias) | ({"name": name} if name else {})


relu, flatten = dict(kind="relu"), dict(kind="flatten")


def simplified():
    return [conv(16, 3, name="conv1"), relu, conv(32, 3, name="conv2"), relu, pool(4), flatten, linear(10, "fc")]


def vgg7(first=64, second=128, hidden=512, kernels=(2, 2), strides=(2, 2)):
    layers = []
    for channels, count, kernel, stride in ((first, 2, kernels[0], strides[0]), (second, 3, kernels[1], strides[1])):
        for _ in range(count):
            layers += [conv(channels, 3, padding=1, name=f"features.{len(layers)}"), relu]
        layers.append(pool(kernel, stride))
    return layers + [flatten, linear(hidden, "classifier.0"), relu, linear(10, "classifier.2")]


def parameter_shapes(layers, shape):
    """(layer index, name, weight shape, has bias) of each layer that has parameters, in order."""
    x = torch.zeros(1, *shape)
    found = []
    for i, spec in enumerate(layers):
        name = spec.get("name", str(i))
        if spec["kind"] == "conv2d":
            found.append((i, name, (spec["out"], x.shape[1], *spec["kernel"]), spec["bias"]))
            x = torch.zeros(1, spec["out"], *F.conv2d(x, torch.zeros(found[-1][2]), None, spec["stride"], spec["padding"]).shape[2:])
        elif spec["kind"] == "linear":
            found.append((i, name, (spec["out"], x.shape[1]), spec["bias"]))
            x = torch.zeros(1, spec["out"])
        else:
            x = apply(spec, x)
    return found


def apply(spec, x, weight=None, bias=None):
    kind = spec["kind"]
    if kind == "conv2d":
        return F.conv2d(x, weight, bias, spec["stride"], spec["padding"])
    if kind == "linear":
        return F.linear(x, weight, bias)
    if kind == "maxPool2d":
        return F.max_pool2d(x, spec["kernel"], spec["stride"], spec["padding"])
    return F.relu(x) if kind == "relu" else x.flatten(1)


# What a case is made of -------------------------------------------------------------------------------------------


def draw_filters(seed, parameter, shape, filters, attempts):
    """The given filters of a weight: uniform in +-2.5/sqrt(fan in), so that values neither grow nor fade."""
    size = math.prod(shape[1:])
    draws = uniform(seed, FILTERS, parameter, [f + 4096 * attempts[f] for f in filters], size)
    values = (2 * draws - 1) * (2.5 / math.sqrt(size))
    return as_float32(values).double().reshape(len(filters), *shape[1:])


def draw_images(seed, shape, batch, distinct):
    images = uniform(seed, IMAGES, 0, range(distinct), math.prod(shape)).reshape(distinct, *shape)
    return as_float32(images[np.arange(batch) % distinct]).double()


def draw_labels(seed, batch, classes):
    return torch.from_numpy(np.floor(uniform(seed, LABELS, 0, [0], batch)[0] * classes).astype(np.int64))


# The margin ------------------------------------------------------------------------------------------------------


def margin_of(maps, tail):
    """The smallest distance of any decision that the layers in `tail` take on `maps` [N, C, H, W], and their output."""
    smallest, rectified = math.inf, False
    for spec in tail:
        if spec["kind"] == "relu":
            # Values that an earlier ReLU has clamped are 0 for sure.
            undecided = maps[maps != 0] if rectified else maps
            smallest = min(smallest, undecided.abs().min().item() if undecided.numel() else math.inf)
            rectified = True
        elif spec["kind"] == "maxPool2d":
            (kh, kw), (sh, sw), (ph, pw) = spec["kernel"], spec["stride"], spec["padding"]
            padded = F.pad(maps, (pw, pw, ph, ph), value=-math.inf)
            windows = padded.unfold(2, kh, sh).unfold(3, kw, sw).flatten(-2)
            top = windows.topk(2).values if windows.shape[-1] > 1 else None
            if top is not None:
                decided = top[..., 0] > 0 if rectified else torch.ones_like(top[..., 0], dtype=torch.bool)
                gaps = (top[..., 0] - top[..., 1])[decided]
                smallest = min(smallest, gaps.min().item() if gaps.numel() else math.inf)
        maps = apply(spec, maps)
    return smallest, maps


def bias_candidates(values, wanted, margin, count=24):
    """Biases near `wanted` that keep every value + bias at least `margin` away from 0."""
    zeros = np.sort(-values)
    left = np.concatenate([[zeros[0] - 4 * margin], zeros])
    right = np.concatenate([zeros, [zeros[-1] + 4 * margin]])
    wide = right - left >= 2 * margin
    nearest = np.clip(wanted, left[wide] + margin, right[wide] - margin)
    return nearest[np.argsort(np.abs(nearest - wanted), kind="stable")][:count]


def build(case):
    """Weights of the case's network with the margin, as (name, weight, bias or None, attempts)."""
    # Moved biases can raise a layer's largest value and so what the margin demands: then aim higher.
    for reserve in (1.3, 1.6, 2, 2.5):
        built = build_with(case, reserve)
        if margin_of_network(case, built) > MARGIN:
            return built
    raise AssertionError(f"{case['name']}: the margin was not reached")


def build_with(case, reserve):
    seed, layers = case["seed"], case["layers"]
    # The distinct images take all the decisions there are.
    x = draw_images(seed, case["input"], case["distinct"], case["distinct"])
    shapes = parameter_shapes(layers, case["input"])
    for spec in layers[: shapes[0][0]]:
        x = apply(spec, x)
    built = []
    for number, (i, name, shape, has_bias) in enumerate(shapes):
        end = next((j for j in range(i + 1, len(layers)) if layers[j]["kind"] in ("conv2d", "linear", "flatten")), len(layers))
        tail = layers[i + 1 : end]
        parameter = sum(2 if s[3] else 1 for s in shapes[:number])
        filters = range(shape[0])
        attempts = [0] * shape[0]
        weight = draw_filters(seed, parameter, shape, filters, attempts)
        bias = None
        if has_bias:
            drawn = (2 * uniform(seed, FILTERS, parameter + 1, [0], shape[0])[0] - 1) / math.sqrt(math.prod(shape[1:]))
            bias = as_float32(drawn).double()
        if tail:
            margin = reserve * MARGIN * apply(layers[i], x, weight, bias).abs().max().item()
            decides = any(spec["kind"] == "relu" for spec in tail)
            for f in filters:
                while True:
                    values = apply(layers[i], x, weight[f : f + 1])
                    maps = values if values.dim() == 4 else values[:, :, None, None]
                    choices = [0.0 if bias is None else bias[f].item()]
                    if decides and bias is not None:
                        choices = bias_candidates(values.numpy().ravel(), choices[0], margin * 1.01)
                    passing = [b for b in as_float32(np.array(choices)).double() if margin_of(maps + b, tail)[0] >= margin]
                    if passing:
                        if bias is not None:
                            bias[f] = passing[0]
                        break
                    attempts[f] += 1
                    assert attempts[f] < 1000, f"{case['name']}: no filter {f} of {name} has the margin"
                    weight[f] = draw_filters(seed, parameter, shape, [f], attempts)[0]
        built.append((name, weight, bias, attempts))
        for j in range(i, len(layers) if number + 1 == len(shapes) else shapes[number + 1][0]):
            x = apply(layers[j], x, weight, bias) if j == i else apply(layers[j], x)
    return built


def margin_of_network(case, built):
    """The smallest margin of all decisions, relative to their layer's largest value, from the finished weights alone."""
    x = draw_images(case["seed"], case["input"], case["distinct"], case["distinct"])
    parameters = {name: (weight, bias) for name, weight, bias, _ in built}
    smallest = math.inf
    for i, spec in enumerate(case["layers"]):
        x = apply(spec, x, *parameters.get(spec.get("name", str(i)), ())) if spec["kind"] in ("conv2d", "linear") else apply(spec, x)
        if spec["kind"] in ("conv2d", "linear"):
            tail = []
            for following in case["layers"][i + 1 :]:
                if following["kind"] not in ("relu", "maxPool2d"):
                    break
                tail.append(following)
            maps = x if x.dim() == 4 else x[:, :, None, None]
            smallest = min(smallest, margin_of(maps, tail)[0] / x.abs().max().item())
    return smallest


def gradients(case, built):
    """Loss, logits and the gradient of each parameter, in float64."""
    tensors = {}
    for name, weight, bias, _ in built:
        tensors[f"{name}.weight"] = weight.clone().requires_grad_()
        if bias is not None:
            tensors[f"{name}.bias"] = bias.clone().requires_grad_()
    x = draw_images(case["seed"], case["input"], case["batch"], case["distinct"])
    for i, spec in enumerate(case["layers"]):
        name = spec.get("name", str(i))
        x = apply(spec, x, tensors.get(f"{name}.weight"), tensors.get(f"{name}.bias"))
    loss = F.cross_entropy(x, draw_labels(case["seed"], case["batch"], x.shape[1]))
    loss.backward()
    return loss.item(), x.detach(), {name: tensor.grad for name, tensor in tensors.items()}


# The cases -------------------------------------------------------------------------------------------------------


def make_cases():
    cases = []

    def add(name, shape, layers, batch, distinct=None, sample=None):
        case = dict(name=name, input=list(shape), batch=batch, distinct=distinct or batch, seed=len(cases) + 1, layers=layers)
        cases.append(case | ({"sample": sample} if sample else {}))

    # Every kernel, stride and padding, twice in a row, so that the first layer's gradient shows the second's
    # backward pass to its input. Channels are no multiples of 4, maps shrink down to a pixel.
    ins, outs = [3, 1, 5, 6, 7, 10], [5, 7, 6, 10, 9, 17, 13]
    number = 0
    for kernel in (1, 3, 5):
        for stride in (1, 2):
            for padding in (0, 1, 2):
                shape = (ins[number % 6], 13 if kernel == 5 and stride == 2 else 9 + number % 3, 13 if kernel == 5 else 9)
                first, second = outs[number % 7], outs[(number + 3) % 7]
                layers = [conv(first, kernel, stride, padding), relu, conv(second, kernel, stride, padding), relu]
                add(f"conv {kernel}x{kernel} stride {stride} padding {padding}", shape, layers + [flatten, linear(10)], 7 if number % 2 else 1)
                number += 1

    # Every pool behind a convolution and ReLU, and again; windows overlap, leave places out, or do not divide the map.
    for kernel, stride, padding in [(2, 1, 0), (2, 2, 0), (2, 3, 0), (2, 4, 0), (2, 2, 1), (2, 1, 1), (4, 1, 0), (4, 2, 0),
                                    (4, 3, 0), (4, 4, 0), (4, 2, 2), (4, 3, 1), (4, 4, 2), (3, 2, 1)]:
        shape = (ins[number % 6], 17 if stride < 3 else 21, 15 if stride < 3 else 19)
        first, second = outs[number % 7], outs[(number + 3) % 7]
        layers = [conv(first, 3, 1, 1), relu, pool(kernel, stride, padding), conv(second, 3, 1, 1), relu]
        # On the second map a pool of 4 may not fit without padding.
        layers += [pool(2, min(stride, 2), padding=min(padding, 1)), flatten, linear(10)]
        add(f"pool {kernel} stride {stride} padding {padding}", shape, layers, 7 if number % 2 else 1)
        number += 1

    # What stands alone.
    add("linear", (3, 5, 5), [flatten, linear(17), relu, linear(10)], 7)
    add("linear, one image", (1, 1, 1), [flatten, linear(3), relu, linear(2)], 1)
    add("linear without bias", (2, 3, 3), [flatten, linear(6, bias=False), relu, linear(5, bias=False)], 7)
    add("only a linear layer", (5, 2, 3), [flatten, linear(7)], 7)
    add("convolution without bias", (3, 7, 7), [conv(5, 3, bias=False), relu, conv(6, 3, bias=False), flatten, linear(4)], 1)
    add("convolutions without ReLU", (3, 8, 9), [conv(6, 3, 1, 1), conv(7, 3, 2, 1), conv(5, 1), flatten, linear(10)], 7)
    add("pool before ReLU", (3, 9, 9), [conv(6, 3, 1, 1), pool(2), relu, conv(5, 3), pool(2), relu, flatten, linear(10)], 7)
    add("pool without ReLU", (3, 10, 9), [conv(6, 3, 1, 1), pool(3, 2), conv(5, 3, 1, 1), pool(2), flatten, linear(10)], 7)
    add("kernel 3x1 and 1x3", (3, 9, 8), [conv(6, [3, 1], 1, [1, 0]), relu, conv(7, [1, 3], [2, 1], [0, 1]), relu, flatten, linear(10)], 7)
    add("kernel 5x3, stride 1x2", (5, 11, 9), [conv(6, [5, 3], [1, 2], [2, 0]), relu, conv(5, [2, 3], [2, 1], [1, 1]), relu, flatten, linear(10)], 7)
    add("pool 2x4, stride 2x3", (3, 9, 14), [conv(6, 3, 1, 1), relu, dict(kind="maxPool2d", kernel=[2, 4], stride=[2, 3], padding=[1, 2]), flatten, linear(10)], 7)
    add("one pixel", (3, 1, 1), [conv(5, 3, 1, 1), relu, conv(6, 1), relu, pool(1), flatten, linear(10)], 7)
    add("two pixels", (1, 1, 2), [conv(5, 3, 1, 1), relu, conv(3, 3, 1, 1), relu, pool([1, 2]), flatten, linear(3)], 1)
    add("maps of 2x2", (3, 4, 4), [conv(7, 3, 1, 1), relu, pool(2), conv(9, 3, 1, 1), relu, pool(2), conv(5, 3, 1, 1), relu, flatten, linear(10)], 7)
    add("33 to 34 channels", (3, 8, 8), [conv(33, 3, 1, 1), relu, conv(34, 3, 1, 1), relu, pool(2), flatten, linear(10)], 7)
    add("kernel 7", (3, 12, 11), [conv(5, 7, 1, 3), relu, conv(6, 4, 3, 2), relu, flatten, linear(10)], 7)
    add("100 images, 1x1", (3, 6, 5), [conv(10, 1), relu, conv(7, 1), relu, flatten, linear(10)], 100)
    add("100 images, 3x3, pool 2", (3, 8, 8), [conv(10, 3, 1, 1), relu, conv(6, 3, 1, 1), relu, pool(2), flatten, linear(10)], 100, 40)
    add("100 images, 3x3, pool 4", (3, 10, 10), [conv(6, 3), relu, conv(10, 3, 1, 1), relu, pool(4), flatten, linear(10)], 100, 40)
    add("100 images, 5x5, stride 2", (3, 11, 11), [conv(7, 5, 2, 2), relu, conv(6, 5, 2, 1), relu, flatten, linear(10)], 100)
    add("100 images, linear", (3, 4, 4), [flatten, linear(50), relu, linear(100)], 100)

    add("simplified, 1 image", (3, 32, 32), simplified(), 1)
    add("simplified, 7 images", (3, 32, 32), simplified(), 7)
    add("simplified, 100 images", (3, 32, 32), simplified(), 100, 7)
    add("narrow vgg7, pools of 4 and 2", (3, 32, 32), vgg7(6, 10, 20, (4, 2), (3, 2)), 7)
    add("narrow vgg7, 100 images", (3, 16, 16), vgg7(6, 10, 20), 100, 7)
    # Too large to be stored whole: every `sample`th value, the largest, the mean and the norm of each gradient.
    add("vgg7, 7 images", (3, 32, 32), vgg7(), 7, sample=2311)
    add("vgg7, 100 images", (3, 32, 32), vgg7(), 100, 7, sample=2311)
    return cases


# Loss curves -----------------------------------------------------------------------------------------------------

CURVE_IMAGES, CLASSES = 2000, 10


def curve_dataset(seed, pattern, noise):
    """Bytes [N, 3, 32, 32] and labels: a coarse pattern below `pattern` for each class, and noise below `noise`."""
    labels = np.floor(uniform(seed, LABELS, 0, [0], CURVE_IMAGES)[0] * CLASSES).astype(np.int64)
    patterns = np.floor(uniform(seed, PATTERNS, 0, range(CLASSES), 3 * 8 * 8) * pattern).reshape(CLASSES, 3, 8, 8)
    patterns = patterns.repeat(4, 2).repeat(4, 3)
    noises = np.floor(uniform(seed, NOISE, 0, range(CURVE_IMAGES), 3 * 32 * 32) * noise).reshape(CURVE_IMAGES, 3, 32, 32)
    return (patterns[labels] + noises).astype(np.uint8), labels


def curve(layers, steps, seed, pattern, noise, threads=1, dtype=torch.float32):
    """Losses of Adam steps with PyTorch's defaults, batches of 100 in order, over and over, pixels scaled to 0-1."""
    torch.set_num_threads(threads)
    pixels, labels = curve_dataset(seed, pattern, noise)
    tensors = {}
    for i, name, shape, _ in parameter_shapes(layers, (3, 32, 32)):
        for suffix, size in (("weight", shape), ("bias", shape[:1])):
            bound = 1 / math.sqrt(math.prod(shape[1:]))
            draws = (2 * uniform_flat(seed, len(tensors), math.prod(size)) - 1) * bound
            tensors[f"{name}.{suffix}"] = as_float32(draws).reshape(size).to(dtype).requires_grad_()
    optimizer = torch.optim.Adam(tensors.values(), lr=0.001)
    losses = []
    for step in range(steps):
        at = step * 100 % CURVE_IMAGES
        x = (torch.from_numpy(pixels[at : at + 100]).float() / 255).to(dtype)
        for i, spec in enumerate(layers):
            name = spec.get("name", str(i))
            x = apply(spec, x, tensors.get(f"{name}.weight"), tensors.get(f"{name}.bias"))
        loss = F.cross_entropy(x, torch.from_numpy(labels[at : at + 100]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    torch.set_num_threads(1)
    return losses


def uniform_flat(seed, parameter, count):
    """The draws of the project's initialization (src/model/initialize.ts)."""
    return uniform(seed, INITIALIZATION, parameter, [0], count)[0]


# Files -----------------------------------------------------------------------------------------------------------


def write_safetensors(path, tensors, metadata=None):
    header, parts, end = {"__metadata__": metadata} if metadata else {}, [], 0
    for name, tensor in tensors.items():
        values = np.asarray(tensor, dtype="<f4")
        header[name] = dict(dtype="F32", shape=list(values.shape), data_offsets=[end, end + values.nbytes])
        parts.append(values.tobytes())
        end += values.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


def main():
    torch.set_num_threads(1)
    cases = make_cases()
    write_gradients(cases)
    write_cases(cases, make_curves())


def write_gradients(cases):
    tensors = {}
    for case in cases:
        built = build(case)
        margin = margin_of_network(case, built)
        loss, logits, grads = gradients(case, built)
        key = case["name"]
        tensors[f"{key}/loss"], tensors[f"{key}/logits"] = loss, logits
        for name, _, bias, attempts in built:
            if bias is not None:
                tensors[f"{key}/bias/{name}"] = bias
            if any(attempts):
                tensors[f"{key}/attempts/{name}"] = attempts
        for name, grad in grads.items():
            assert grad.abs().max() > 0, f"{key}: the gradient of {name} is 0 and would test nothing"
            if "sample" in case:
                tensors[f"{key}/sample/{name}"] = grad.flatten()[:: case["sample"]]
                tensors[f"{key}/summary/{name}"] = [grad.abs().max().item(), grad.mean().item(), grad.norm().item()]
            else:
                tensors[f"{key}/gradient/{name}"] = grad
        print(f"{key}: loss {loss:.4f}, margin {margin:.2e}, {sum(max(b[3]) > 0 for b in built)} layers redrawn", flush=True)
    write_safetensors(FOLDER / "gradients.safetensors", tensors)


def make_curves():
    curves = []
    # Patterns strong enough that the loss moves, and noise strong enough that it does not fall off a cliff, where
    # PyTorch would be as far from itself as the tests allow.
    for name, layers, steps, pattern, noise in (("simplified", simplified(), 100, 24, 200), ("vgg7", vgg7(), 20, 80, 170)):
        losses = curve(layers, steps, 1, pattern, noise)
        curves.append(dict(model=name, seed=1, pattern=pattern, noise=noise, losses=losses))
        others = [curve(layers, steps, 1, pattern, noise, threads=2), curve(layers, steps, 1, pattern, noise, dtype=torch.float64)]
        apart = [max(abs(a / b - 1) for a, b in zip(other, losses)) for other in others]
        print(f"{name}: loss {losses[0]:.4f} to {losses[-1]:.4f}; two threads differ by {apart[0]:.1e}, float64 by {apart[1]:.1e}", flush=True)
    return curves


def write_cases(cases, curves):
    lines = [json.dumps(case) for case in cases]
    text = '{\n"cases": [\n' + ",\n".join(lines) + '\n],\n"curves": [\n' + ",\n".join(map(json.dumps, curves)) + "\n]\n}\n"
    (FOLDER / "cases.json").write_text(text)


if __name__ == "__main__":
    main()
