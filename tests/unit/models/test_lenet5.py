import pytest
import torch
from torch import nn

from liandan.models import ModelError
from liandan.models.lenet5 import LeNet5


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_the_classic_number_of_parameters() -> None:
    assert count(LeNet5()) == 61_706


def test_28_pixels_is_the_books_padding_of_two() -> None:
    torch.manual_seed(0)
    model, images = LeNet5().eval(), torch.rand(3, 1, 28, 28)
    book = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    )
    first, second = model.features[0], model.features[3]
    book[0].load_state_dict(first.state_dict())
    book[3].load_state_dict(second.state_dict())
    torch.testing.assert_close(model(images), model.head(nn.Sequential(*list(model.hidden)[1:])(book(images))))
    torch.testing.assert_close(model(images), model(nn.functional.pad(images, (2, 2, 2, 2))))


@pytest.mark.parametrize("size", [(16, 16), (28, 28), (31, 32), (32, 32), (33, 47), (224, 224)])
def test_any_size_from_16(size: tuple[int, int]) -> None:
    model = LeNet5(num_classes=7, in_chans=3, activation="tanh", pool="avg", width=0.5, norm=True, dropout=0.5)
    logits = model(torch.rand(2, 3, *size))
    assert logits.shape == (2, 7)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 16 x 16 pixels, received 15 x 40"):
        LeNet5()(torch.zeros(1, 1, 15, 40))
    with pytest.raises(ModelError, match="received 'gelu'"):
        LeNet5(activation="gelu")  # type: ignore[arg-type]


def test_sigmoid_starts_from_glorot() -> None:
    weight = LeNet5(activation="sigmoid").get_parameter("hidden.2.weight")
    bound = (6 / (400 + 120)) ** 0.5
    assert 0.99 * bound < weight.detach().abs().max() <= bound
