import pytest
import torch
from torch import nn

from liandan.models import ModelError
from liandan.models.dcgan import DCGAN


@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_shapes_and_range(size: int, norm: str) -> None:
    model = DCGAN(size=size, in_chans=3, latent=8, width=4, norm=norm, dropout=0.1)  # type: ignore[arg-type]
    images = model(torch.randn(5, 8))
    assert images.shape == (5, 3, size, size) and images.abs().max() <= 1
    logits = model.critic(images)
    assert logits.shape == (5,)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_one_sample_keeps_its_axis() -> None:
    model = DCGAN(norm="none", width=4)
    assert model.critic(model(torch.randn(1, 64))).shape == (1,)


def test_parameters_by_hand() -> None:
    w, latent = 8, 16  # 32 pixels: channels w, 2w, 4w at 16, 8, 4
    model = DCGAN(size=32, in_chans=1, latent=latent, width=w)
    generator = 16 * (latent * 4 * w + 4 * w * 2 * w + 2 * w * w + w) + 1 + 2 * (4 * w + 2 * w + w)
    critic = 16 * (w + w * 2 * w + 2 * w * 4 * w + 4 * w) + w + 1 + 2 * (2 * w + 4 * w)
    assert sum(p.numel() for p in model.generator.parameters()) == generator
    assert sum(p.numel() for p in model.critic.parameters()) == critic


def test_initialization_is_the_papers() -> None:
    torch.manual_seed(0)
    model = DCGAN(width=32)
    weights = torch.cat([m.weight.flatten() for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)])
    assert abs(weights.std().item() - 0.02) < 2e-4 and abs(weights.mean().item()) < 2e-4
    assert not [m for m in model.critic[:2].modules() if isinstance(m, nn.BatchNorm2d)]


def test_group_norm_does_not_couple_the_batch() -> None:
    torch.manual_seed(0)
    z = torch.randn(4, 8, dtype=torch.float64)
    coupled = DCGAN(latent=8, width=8).double().train()
    alone = DCGAN(latent=8, width=8, norm="group").double().train()
    torch.testing.assert_close(alone(z)[:1], alone(z[:1]), rtol=0, atol=1e-12)
    assert (coupled(z)[:1] - coupled(z[:2])[:1]).abs().max() > 1e-6


@pytest.mark.parametrize("size", [8, 0, 33, 48])
def test_sizes_refused(size: int) -> None:
    with pytest.raises(ModelError, match=f"received {size}; try (16|32)"):
        DCGAN(size=size)
