"""PyTorch's side of the GPU benchmark: a process that answers requests, JSON objects on a line each.

Argument: the device, `cuda` or `cpu`. Networks are built from the same data as ours (`networks.ts`). A step does what a
training loop does per batch; its images are on the GPU already.
"""

import json
import sys
import time

import numpy
import torch
import torch.nn as nn

device = sys.argv[1]
# The fastest algorithm of each convolution, found in the first steps.
torch.backends.cudnn.benchmark = True


def sync():
    if device == "cuda":
        torch.cuda.synchronize()


def build(spec):
    layers, channels, side = [], 3, spec["side"]
    for entry in spec["features"]:
        if entry == "M":
            layers.append(nn.MaxPool2d(spec["pool"], spec["pool"]))
            side //= spec["pool"]
            continue
        layers.append(nn.Conv2d(channels, entry, 3, padding=spec["padding"]))
        if spec["batchNorm"]:
            layers.append(nn.BatchNorm2d(entry))
        layers.append(nn.ReLU(inplace=True))
        channels = entry
        side += 2 * spec["padding"] - 2
    layers.append(nn.Flatten())
    values = channels * side * side
    for out in spec["hidden"]:
        layers += [nn.Linear(values, out), nn.ReLU(inplace=True)]
        if spec["dropout"] > 0:
            layers.append(nn.Dropout(spec["dropout"]))
        values = out
    return nn.Sequential(*layers, nn.Linear(values, spec["classes"])).to(device)


def precision(variant):
    """Whether products may round their inputs to TF32."""
    allowed = variant != "f32"
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


class Training:
    def __init__(self, spec, batch, variant):
        torch.manual_seed(0)
        precision(variant)
        self.variant = variant
        self.model = build(spec)
        self.run = torch.compile(self.model) if variant == "compiled" else self.model
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.001)
        self.images = torch.rand(batch, 3, spec["side"], spec["side"], device=device)
        self.labels = torch.randint(0, spec["classes"], (batch,), device=device)
        for _ in range(3):
            self.step()
        sync()

    def step(self):
        loss = self.criterion(self.run(self.images), self.labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def seconds(self, steps):
        precision(self.variant)
        sync()
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        sync()
        return (time.perf_counter() - start) / steps


def augmented(images):
    """Padding by 4, a random flip and a random crop of bytes [N, 3, 32, 32], on the device; values from 0 to 1."""
    count = len(images)
    padded = nn.functional.pad(images, (4, 4, 4, 4))
    columns = torch.arange(32, device=device)
    flip = torch.rand(count, 1, device=device) < 0.5
    across = torch.where(flip, 31 - columns, columns) + torch.randint(0, 9, (count, 1), device=device)
    down = columns + torch.randint(0, 9, (count, 1), device=device)
    rows = torch.arange(count, device=device).view(-1, 1, 1)
    return padded.permute(0, 2, 3, 1)[rows, down[:, :, None], across[:, None, :]].permute(0, 3, 1, 2).float() / 255


def epochs(request):
    """The lecture's program on images that are on the GPU; seconds of each epoch and of the test."""
    precision("tf32")
    counts = request["train"], request["test"]
    pixels = numpy.fromfile(request["pixels"], numpy.uint8).reshape(-1, 3, 32, 32)
    labels = numpy.fromfile(request["labels"], numpy.uint8).astype(numpy.int64)
    pixels, labels = torch.from_numpy(pixels).to(device), torch.from_numpy(labels).to(device)
    model = build(request["network"])
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    batch = request["batch"]
    seconds = []
    for _ in range(request["epochs"]):
        sync()
        start = time.perf_counter()
        order = torch.randperm(counts[0], device=device)
        for i, first in enumerate(range(0, counts[0], batch)):
            own = order[first : first + batch]
            loss = criterion(model(augmented(pixels[own])), labels[own])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if (i + 1) % 100 == 0:
                loss.item()
        sync()
        seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
    correct = 0
    with torch.no_grad():
        for first in range(counts[0], sum(counts), batch):
            outputs = model(pixels[first : first + batch].float() / 255)
            correct += (outputs.argmax(1) == labels[first : first + batch]).sum().item()
    return {"epochs": seconds, "test": time.perf_counter() - start, "accuracy": correct / counts[1]}


trainings = {}


def answer(request):
    command = request["command"]
    if command == "open":
        trainings[request["variant"]] = Training(request["network"], request["batch"], request["variant"])
        return {}
    if command == "steps":
        return {"seconds": trainings[request["variant"]].seconds(request["steps"])}
    if command == "close":
        trainings.clear()
        if device == "cuda":
            torch.cuda.empty_cache()
        return {}
    return epochs(request)


def main():
    def reply(value):
        print(json.dumps(value), flush=True)

    if device == "cuda" and not torch.cuda.is_available():
        reply({"refused": f"PyTorch {torch.__version__} finds no CUDA device"})
        return
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    reply({"torch": torch.__version__, "device": name})
    for line in sys.stdin:
        try:
            reply(answer(json.loads(line)))
        except Exception as error:
            reply({"error": str(error).strip().split("\n")[0] or type(error).__name__})


main()
