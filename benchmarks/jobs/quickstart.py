"""The loop of Flower's and NVFlare's examples: a DataLoader, transforms of one image, a plain network."""

from functools import cache

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.jobs.task import BATCH_SIZE, LEARNING_RATE, MOMENTUM, settings, sites, tensors
from teledx_fed.data import augmentation
from teledx_fed.model.network import build

AUGMENTED = (
    v2.RandomHorizontalFlip(),
    v2.RandomAffine(
        augmentation.DEGREES,
        translate=(augmentation.SHIFT, augmentation.SHIFT),
        scale=(1 - augmentation.SCALE, 1 + augmentation.SCALE),
        interpolation=v2.InterpolationMode.BILINEAR,
    ),
    v2.ColorJitter(augmentation.BRIGHTNESS, augmentation.CONTRAST, augmentation.SATURATION),
)
NORMALISED = (v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3))

Batches = DataLoader[tuple[Tensor, Tensor]]


class Net(nn.Module):
    """The job's network, with random weights."""

    def __init__(self) -> None:
        super().__init__()
        grader = build(settings().model, seed=0)
        self.backbone, self.head = grader.backbone, grader.head
        self.to(memory_format=torch.contiguous_format)

    def forward(self, images: Tensor) -> Tensor:
        grades: Tensor = self.head(self.backbone(images))
        return grades


class Photographs(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, pixels: Tensor, grades: Tensor, *transforms: v2.Transform) -> None:
        self.pixels, self.grades, self.transform = pixels, grades, v2.Compose(transforms)

    def __len__(self) -> int:
        return len(self.grades)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.pixels[row]), self.grades[row]


@cache
def load_data(number: int) -> tuple[Batches, Batches]:
    site = sites()[number]
    train = Photographs(*tensors(site, site.shard.train), *AUGMENTED, *NORMALISED)
    test = Photographs(*tensors(site, site.shard.validation), *NORMALISED)
    return DataLoader(train, batch_size=BATCH_SIZE, shuffle=True), DataLoader(test, batch_size=BATCH_SIZE)


def train(net: nn.Module, number: int, round: int) -> float:
    batches, _ = load_data(number)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    net.train()
    running_loss = 0.0
    for images, grades in batches:
        optimizer.zero_grad()
        loss = criterion(net(images), grades)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
    return running_loss / len(batches)


@torch.no_grad()
def test(net: nn.Module, number: int) -> float:
    _, batches = load_data(number)
    net.eval()
    right, total = 0, 0
    for images, grades in batches:
        right += int((net(images).argmax(1) == grades).sum())
        total += len(grades)
    return right / total
