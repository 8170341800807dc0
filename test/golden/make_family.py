"""
The VGG family in PyTorch.

python3 make_family.py shapes > family-shapes.json
    names and shapes of torchvision's networks
python3 make_family.py values FOLDER WIDTH HIDDEN CLASSES HEIGHTxWIDTH… [--only MEMBER]
    random weights of each member (MEMBER.pth) and MEMBER.json: logits of two images in evaluation, and in training
    without dropout the loss and samples of its gradients, for each size. The committed files:
    python3 make_family.py values family 0.03125 8 7 224x224 256x320 64x64 32x32
"""

import json
import pathlib
import sys

import torch
import torchvision
from torch import nn

members = [f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "-bn")] + ["vgg11-lrn", "vgg16-c"]
letters = {"11": "A", "13": "B", "16": "D", "19": "E"}
# Three convolutions of C are 1x1; the others are those of D.
pointwise = {"vgg16-c": (7, 10, 13)}


def shapes():
    result = {}
    for name in members[:8]:
        model = getattr(torchvision.models, name.replace("-", "_"))(init_weights=False)
        state = model.state_dict()
        result[name] = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "tensors": {
                key: list(value.shape) for key, value in state.items() if not key.endswith("num_batches_tracked")
            },
        }
    print(json.dumps({"torchvision": torchvision.__version__, "members": result}))


def features(name, width):
    """torchvision's make_layers, with other widths, 1x1 convolutions and local response normalization."""
    layers = nn.Sequential()
    channels, conv, place = 3, 0, 0

    def add(layer):
        nonlocal place
        layers.add_module(str(place), layer)
        place += 1

    for entry in torchvision.models.vgg.cfgs[letters[name[3:5]]]:
        if entry == "M":
            add(nn.MaxPool2d(2, 2))
            continue
        conv += 1
        out = max(1, round(entry * width))
        kernel = 1 if conv in pointwise.get(name, ()) else 3
        add(nn.Conv2d(channels, out, kernel, padding=kernel // 2))
        if name.endswith("-bn"):
            add(nn.BatchNorm2d(out))
        add(nn.ReLU())
        if name.endswith("-lrn") and conv == 1:
            layers.add_module("lrn", nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2))
        channels = out
    return layers, channels


def network(name, width, hidden, classes):
    layers, channels = features(name, width)
    model = torchvision.models.VGG(layers, num_classes=classes, init_weights=True, dropout=0.0)
    if (channels, hidden) != (512, 4096):
        model.classifier = nn.Sequential(
            *(nn.Linear(channels * 49, hidden), nn.ReLU(), nn.Dropout(0.0)),
            *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(0.0)),
            nn.Linear(hidden, classes),
        )
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.BatchNorm2d)):
            nn.init.normal_(module.bias, 0, 0.1)
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def images(height, width):
    """Two images of bytes that a test computes again, normalized as by torchvision."""
    places = torch.arange(2 * 3 * height * width, dtype=torch.int64)
    pixels = ((places * 2654435761) % 2**32) // 2**24
    values = (pixels.reshape(2, 3, height, width).float()) / 255
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
    return (values - mean) / std


def sample(values):
    """The largest absolute value, and up to eight values at equal distances."""
    flat = values.detach().flatten()
    step = max(1, flat.numel() // 8)
    return [flat.abs().max().item(), *flat[::step][:8].tolist()]


def values(folder, width, hidden, classes, sizes, only):
    folder = pathlib.Path(folder)
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(members):
        if only is not None and name != only:
            continue
        torch.manual_seed(number)
        model = network(name, width, hidden, classes)
        torch.save(model.state_dict(), folder / f"{name}.pth", _use_new_zipfile_serialization=number % 2 == 0)
        found = []
        for height, across in sizes:
            # In float64, so that differences are those of the program that is compared.
            model.double()
            batch = images(height, across).double()
            labels = torch.tensor([1, classes - 1])
            model.eval()
            with torch.no_grad():
                logits = model(batch)
            model.train()
            model.zero_grad()
            loss = nn.functional.cross_entropy(model(batch), labels)
            loss.backward()
            gradients = {key: sample(p.grad) for key, p in model.named_parameters()}
            found.append(
                {
                    "size": [height, across],
                    "logits": logits.flatten().tolist(),
                    "loss": loss.item(),
                    "gradients": gradients,
                }
            )
            model.load_state_dict(torch.load(folder / f"{name}.pth"))
        settings = {"width": width, "hidden": hidden, "classes": classes, "torch": torch.__version__}
        (folder / f"{name}.json").write_text(json.dumps({**settings, "sizes": found}) + "\n")
        print(name, file=sys.stderr)


if __name__ == "__main__":
    torch.set_num_threads(2)
    if sys.argv[1:] == ["shapes"]:
        shapes()
    else:
        words = sys.argv[2:]
        only = words.pop() if "--only" in words else None
        folder, width, hidden, classes, *sizes = [word for word in words if word != "--only"]
        pairs = [tuple(int(side) for side in size.split("x")) for size in sizes]
        values(folder, float(width), int(hidden), int(classes), pairs, only)
