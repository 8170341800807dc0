"""PyTorch's side of the VGG-16 benchmark; the protocol is that of job.ts. Argument: its options as JSON."""

import json
import os
import re
import struct
import sys
import time

import numpy
import torch

CONFIGURATION_D = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]
SIDE = 224


class Vgg16(torch.nn.Module):
    """torchvision's vgg16, whose adaptive pool changes nothing at this size. Its tensors have no memory yet."""

    def __init__(self):
        super().__init__()
        layers, channels = [], 3
        for entry in CONFIGURATION_D:
            if entry == "M":
                layers.append(torch.nn.MaxPool2d(2, 2))
            else:
                layers += [torch.nn.Conv2d(channels, entry, 3, padding=1, device="meta"), torch.nn.ReLU(inplace=True)]
                channels = entry
        hidden = []
        for inputs, outputs in ((512 * 7 * 7, 4096), (4096, 4096), (4096, 1000)):
            linear = torch.nn.Linear(inputs, outputs, device="meta")
            hidden += [linear, torch.nn.ReLU(inplace=True), torch.nn.Dropout()]
        self.features = torch.nn.Sequential(*layers)
        self.classifier = torch.nn.Sequential(*hidden[:-2])

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def load(model, path):
    """Reads a safetensors file tensor by tensor, without a second copy."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        values = numpy.fromfile(path, numpy.float32, (end - begin) // 4, offset=8 + length + begin)
        layer, kind = name.rsplit(".", 1)
        tensor = torch.from_numpy(values).reshape(entry["shape"])
        setattr(model.get_submodule(layer), kind, torch.nn.Parameter(tensor))


def work_of(options):
    """A function that does one step, or one forward pass and returns its logits."""
    batch, folder = options["batch"], options["folder"]
    model = Vgg16()
    load(model, os.path.join(folder, "vgg16.safetensors"))
    pixels = numpy.fromfile(os.path.join(folder, "pixels.bin"), numpy.uint8, batch * 3 * SIDE * SIDE)
    images = torch.from_numpy(pixels).reshape(batch, 3, SIDE, SIDE).float() / 255
    # 6 % faster with 8 images, in inference and in training, with less memory.
    images = images.contiguous(memory_format=torch.channels_last)
    model = model.to(memory_format=torch.channels_last)
    if options["command"] == "predict":
        model.eval()

        def predict():
            with torch.inference_mode():
                return model(images)

        return predict
    labels = torch.from_numpy(numpy.fromfile(os.path.join(folder, "labels.bin"), "<u2", batch).astype(numpy.int64))
    criterion = torch.nn.CrossEntropyLoss()
    if options["command"] == "fineTune":
        model.features.requires_grad_(False)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=1e-4, momentum=0.9)

    def step():
        loss = criterion(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return None

    return step


def peak_memory():
    """Largest resident size in bytes; null where the system does not tell."""
    try:
        with open("/proc/self/status") as file:
            return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1])
    except OSError:
        return None


def reply(value):
    print(json.dumps(value), flush=True)


def main():
    options = json.loads(sys.argv[1])
    torch.set_num_threads(options["threads"])
    run = work_of(options)
    opened = time.perf_counter()
    logits = run()
    hello = {"description": f"PyTorch {torch.__version__}", "firstRun": time.perf_counter() - opened}
    reply(hello | ({} if logits is None else {"logits": logits[0].tolist()}))
    for line in sys.stdin:
        seconds = []
        for _ in range(json.loads(line).get("repetitions", 0)):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        reply({"seconds": seconds} if seconds else {"peak": peak_memory()})


main()
