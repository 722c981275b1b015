"""Mixup and CutMix: torchvision's arithmetic, a partner that the key alone decides, targets that follow the pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms.v2 import CutMix, MixUp

from liandan.data.image_pipeline import ImagePipeline, ImageSamples
from liandan.data.mixing import Mixing, blend, cut_box, kept, paste
from liandan.data.readers import read
from liandan.data.transforms import TransformError
from liandan.randomness import mix

KEYS = [mix(11, k) for k in range(2000)]


def pair(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    made = torch.rand(2, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    return made if dtype.is_floating_point else (made * 255).to(dtype)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.77, 1.0])
def test_a_blend_is_torchvisions(share: float) -> None:
    theirs = MixUp(num_classes=2).transform(pair(), {"labels": torch.tensor([0, 1]), "batch_size": 2, "lam": share})
    torch.testing.assert_close(blend(pair()[0], pair()[1], share), theirs[0], rtol=1e-6, atol=1e-6)
    whole = blend(pair(torch.uint8)[0], pair(torch.uint8)[1], share)
    exact = share * pair(torch.uint8)[0].double() + (1 - share) * pair(torch.uint8)[1].double()
    assert whole.dtype == torch.uint8 and float((whole.double() - exact).abs().max()) <= 0.5001


def test_a_box_is_torchvisions(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    for _ in range(50):
        theirs, state = CutMix(num_classes=2), torch.get_rng_state()
        params = theirs.make_params([pair()])
        torch.set_rng_state(state)
        share = float(theirs._dist.sample(()))
        x, y = int(torch.randint(30, size=(1,))), int(torch.randint(20, size=(1,)))
        box = cut_box(share, 20, 30, np.array([(y + 0.5) / 20, (x + 0.5) / 30]))
        assert (box[1], box[0], box[3], box[2]) == params["box"]
        assert kept(box, 20, 30) == pytest.approx(params["lam_adjusted"])
        pasted = theirs.transform(pair(), {"labels": torch.tensor([0, 1]), "batch_size": 2, **params})
        assert torch.equal(paste(pair()[0], pair()[1], box), pasted[0])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_beta(alpha: float) -> None:
    still = torch.zeros(1, 4, 4)
    shares = [Mixing(mixup=alpha).apply(still, 0, key, 9, lambda i, k: still)[2] for key in KEYS]
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_partners_are_all_samples_alike_and_kinds_are_half_and_half() -> None:
    first, second = torch.zeros(1, 32, 32), torch.ones(1, 32, 32)
    both, partners, blended = Mixing(mixup=1.0, cutmix=1.0, probability=0.5), [], []
    for key in KEYS:
        image, partner, share = both.apply(first, 3, key, 10, lambda i, k: second)
        assert float(image.mean()) == pytest.approx(1 - share, abs=1e-5)  # the target follows the pixels
        if share < 1:
            partners.append(partner)
            blended.append(0 < float(image[0, 0, 0]) < 1)
    assert stats.chisquare(np.bincount(partners, minlength=10)).pvalue > 1e-3
    assert abs(len(partners) / len(KEYS) - 0.5) < 0.05 and abs(np.mean(blended) - 0.5) < 0.06


def digits(folder: Path, **mixing: Any) -> ImageSamples:
    steps = [{"name": "resize", "size": [12, 12]}, {"name": "random_affine", "degrees": 15}]
    source = read(folder)
    transforms = {"train": steps, "eval": steps[:1], "mix": mixing or None}
    return ImagePipeline.fit(source, transforms=transforms, defaults={"size": 12, "channels": 1}).samples(source, training=True)


def test_a_mixed_sample_is_a_function_of_its_key_and_not_of_its_batch(digit_folders: Path) -> None:
    samples = digits(digit_folders, mixup=0.4, cutmix=1.0)
    indices, keys = np.arange(40), np.array(KEYS[:40])
    whole = samples.batch(indices, keys)
    assert set(whole) == {"image", "label", "other", "share"} and not samples.resident
    halves = [samples.batch(indices[at], keys[at]) for at in (slice(0, 17), slice(17, 40))]
    alone = samples.batch(indices[::-1].copy(), keys[::-1].copy())
    for name, value in whole.items():
        assert torch.equal(value, torch.cat([half[name] for half in halves])), name
        assert torch.equal(value, alone[name].flip(0)), name
    assert len(set(whole["other"].tolist())) > 5 and float(whole["share"].std()) > 0.1


def test_without_a_key_and_in_evaluation_nothing_is_mixed(digit_folders: Path) -> None:
    source = read(digit_folders)
    transforms = {"train": ["grayscale"], "eval": ["grayscale"], "mix": {"mixup": 1.0}}
    pipeline = ImagePipeline.fit(source, transforms=transforms, defaults={"channels": 1})
    again = ImagePipeline.from_json(pipeline.to_json())
    for made in (pipeline, again):
        assert made.samples(source, training=True).sample(0, 5).keys() == {"image", "label", "other", "share"}
        assert made.samples(source, training=False).sample(0, 5).keys() == {"image", "label"}


def test_an_unreadable_partner_is_passed_over(digit_folders: Path) -> None:
    samples = digits(digit_folders, mixup=1.0)
    broken = [i for i in range(len(samples)) if i % 2]
    for i in broken:
        (digit_folders / samples.name(i)).write_bytes(b"no image")
    whole = [samples.sample(0, key) for key in KEYS[:200]]
    assert len({sample["other"] for sample in whole}) > 3


def test_images_without_classes_cannot_be_mixed(photos: Path) -> None:
    source = read(photos, "images")
    with pytest.raises(TransformError, match="without classes"):
        ImagePipeline.fit(source, transforms={"mix": {"mixup": 1.0}}, defaults={"size": 32})
