"""Makes the files that only differ in names: a small VGG under torchvision's and timm's names (safetensors), and as a
legacy .pth. Random weights. Run: /usr/bin/python3 make_names.py (torch 1.13)."""
import json, os, struct, torch
from torch import nn
os.chdir(os.path.dirname(os.path.abspath(__file__))); torch.manual_seed(11)
layers, channels = [], 3
for v in [4, 'M', 8, 8, 'M', 8, 'M']:
    if v == 'M': layers.append(nn.MaxPool2d(2, 2))
    else: layers += [nn.Conv2d(channels, v, 3, padding=1), nn.ReLU()]; channels = v
head = [nn.Linear(8 * 49, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 6)]
sd = nn.ModuleDict(dict(features=nn.Sequential(*layers), classifier=nn.Sequential(*head))).state_dict()
def safetensors(path, tensors):
    header, at = {}, 0
    for k, v in tensors.items(): n = v.numel() * 4; header[k] = dict(dtype='F32', shape=list(v.shape), data_offsets=[at, at + n]); at += n
    j = json.dumps(header).encode(); j += b' ' * (-len(j) % 8)
    open(path, 'wb').write(struct.pack('<Q', len(j)) + j + b''.join(v.numpy().tobytes() for v in tensors.values()))
names = {'classifier.0': 'pre_logits.fc1', 'classifier.3': 'pre_logits.fc2', 'classifier.6': 'head.fc'}
def timm(k, v):
    for a, b in names.items(): k = k.replace(a, b)
    return k, v.reshape(-1, 8, 7, 7) if k == 'pre_logits.fc1.weight' else v.reshape(-1, 16, 1, 1) if k == 'pre_logits.fc2.weight' else v
safetensors('tiny-torchvision.safetensors', sd)
safetensors('tiny-timm.safetensors', dict(timm(k, v) for k, v in sd.items()))
torch.save(sd, 'tiny-torchvision-legacy.pth', _use_new_zipfile_serialization=False)
