"""PyTorch's side of the benchmark: a long-running process that executes one request per line.

Requests and replies are JSON objects, one per line, on standard input and output, so that bench.ts can alternate our
repetitions with PyTorch's. Argument: the number of threads. Networks and epoch are those of the lecture's program,
including its loader; only the files are read in their binary layout.
"""

import json
import os
import sys
import time

import numpy
import torch
import torch.nn as nn
import torchvision
import torchvision.transforms as transforms
from PIL import Image


class Simplified(nn.Module):
    """The lecture's network, as in the lecture's code."""

    def __init__(self):
        super().__init__()
        self.maxpool = nn.MaxPool2d(4)
        self.conv1 = nn.Conv2d(in_channels=3, out_channels=16, kernel_size=3, stride=1)
        self.conv2 = nn.Conv2d(in_channels=16, out_channels=32, kernel_size=3, stride=1)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(1568, 10)

    def forward(self, x):
        x = self.relu(self.conv1(x))
        x = self.relu(self.conv2(x))
        x = self.maxpool(x)
        x = x.view(x.size(0), -1)
        return self.fc(x)


def vgg7():
    """A block of two convolutions, a block of three, two linear layers; 64 and 128 channels, 512 hidden units."""
    layers, channels = [], 3
    for entry in [64, 64, "M", 128, 128, 128, "M"]:
        if entry == "M":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(channels, entry, 3, padding=1), nn.ReLU(inplace=True)]
            channels = entry
    head = [nn.Flatten(), nn.Linear(128 * 8 * 8, 512), nn.ReLU(inplace=True), nn.Linear(512, 10)]
    return nn.Sequential(*layers, *head)


def vgg16_bn():
    """Configuration D with batch normalization and one linear layer, for 32x32 images."""
    layers, channels = [], 3
    for entry in [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]:
        if entry == "M":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(channels, entry, 3, padding=1), nn.BatchNorm2d(entry), nn.ReLU(inplace=True)]
            channels = entry
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))


class Training:
    """A network with its optimizer and one fixed batch; a step does all that a training loop does per batch."""

    def __init__(self, model, batch):
        torch.manual_seed(0)
        self.model = {"simplified": Simplified, "vgg7": vgg7, "vgg16-bn": vgg16_bn}[model]()
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.001)
        self.images = torch.rand(batch, 3, 32, 32)
        self.labels = torch.randint(0, 10, (batch,))
        for _ in range(3):
            self.step()

    def step(self):
        loss = self.criterion(self.model(self.images), self.labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def predict(self):
        with torch.no_grad():
            self.model(self.images)


class Cifar10(torch.utils.data.Dataset):
    """torchvision's CIFAR10 for the binary files: bytes as [N, H, W, C], a PIL image per sample."""

    def __init__(self, folder, train, transform):
        names = [f"data_batch_{i}.bin" for i in range(1, 6)] if train else ["test_batch.bin"]
        records = [numpy.fromfile(os.path.join(folder, name), numpy.uint8).reshape(-1, 3073) for name in names]
        records = numpy.concatenate(records)
        self.targets = records[:, 0].tolist()
        self.data = records[:, 1:].reshape(-1, 3, 32, 32).transpose((0, 2, 3, 1))
        self.transform = transform

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]

    def __len__(self):
        return len(self.data)


def lecture_epoch(folder):
    """Runs the lecture's program for one epoch, including the test."""
    start = time.perf_counter()
    transform = transforms.Compose(
        [transforms.Pad(4), transforms.RandomHorizontalFlip(), transforms.RandomCrop(32), transforms.ToTensor()]
    )
    train_dataset = Cifar10(folder, train=True, transform=transform)
    test_dataset = Cifar10(folder, train=False, transform=transforms.ToTensor())
    train_loader = torch.utils.data.DataLoader(dataset=train_dataset, batch_size=100, shuffle=True)
    test_loader = torch.utils.data.DataLoader(dataset=test_dataset, batch_size=100, shuffle=False)
    model = Simplified()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    training = time.perf_counter()
    for i, (images, labels) in enumerate(train_loader):
        outputs = model(images)
        loss = criterion(outputs, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (i + 1) % 100 == 0:
            loss.item()
    testing = time.perf_counter()
    model.eval()
    with torch.no_grad():
        correct = 0
        total = 0
        for images, labels in test_loader:
            outputs = model(images)
            _, predicted = torch.max(outputs.data, 1)
            total += labels.size(0)
            correct += (predicted == labels).sum().item()
    end = time.perf_counter()
    return {
        "seconds": end - start,
        "trainSeconds": testing - training,
        "testSeconds": end - testing,
        "testAccuracy": correct / total,
    }


trainings = {}


def timed(request):
    """Returns the seconds of each of `repetitions` training steps or forward passes."""
    key = (request["model"], request["batch"])
    if key not in trainings:
        trainings[key] = Training(*key)
    work = trainings[key].step if request["command"] == "step" else trainings[key].predict
    seconds = []
    for _ in range(request["repetitions"]):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds}


def main():
    threads = int(sys.argv[1])
    torch.set_num_threads(threads)

    def reply(value):
        print(json.dumps(value), flush=True)

    reply({"torch": torch.__version__, "torchvision": torchvision.__version__, "threads": threads})
    for line in sys.stdin:
        request = json.loads(line)
        if request["command"] in ("step", "predict"):
            reply(timed(request))
        elif request["command"] == "epoch":
            reply(lecture_epoch(request["folder"]))
        else:
            reply({"error": f"unknown command {request['command']}"})


main()
