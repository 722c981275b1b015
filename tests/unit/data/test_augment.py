"""Our own augmentation steps against Pillow's operations and the formulas of their papers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from liandan.data.augment import ALL, AugmentPolicies, Lighting, _operation
from liandan.data.transforms import TransformError, build, divide
from tests.unit.data.conftest import pattern


def image() -> torch.Tensor:
    return torch.from_numpy(pattern(40, 56, seed=3)).permute(2, 0, 1).contiguous()


def pil() -> Image.Image:
    return Image.fromarray(pattern(40, 56, seed=3))


def tensor(made: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(made)).permute(2, 0, 1)


def once(name: str, **options: Any) -> torch.Tensor:
    """An operation made for certain, its magnitude as it is."""
    policies = [{"name": name, "prob": 1.0, "random_negative_prob": 0.0, **options}]
    return AugmentPolicies(policies, num_policies=1, magnitude_level=5, magnitude_std=0)(image())


def moved(matrix: tuple[float, ...]) -> Image.Image:
    return pil().transform((56, 40), Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=(128, 128, 128))


@pytest.mark.parametrize(
    ("name", "options", "expected", "tolerance"),
    [
        ("Invert", {}, lambda: ImageOps.invert(pil()), 0),
        ("Equalize", {}, lambda: ImageOps.equalize(pil()), 1),
        ("AutoContrast", {}, lambda: ImageOps.autocontrast(pil()), 1),
        ("Solarize", {"thr": 100}, lambda: ImageOps.solarize(pil(), 100), 0),
        ("Solarize", {"thr": 256}, pil, 0),
        ("Posterize", {"bits": 2.4}, lambda: ImageOps.posterize(pil(), 3), 0),
        ("SolarizeAdd", {"magnitude": 60.7}, lambda: Image.eval(pil(), lambda v: min(255, v + 60) if v < 128 else v), 0),
        ("ColorTransform", {"magnitude": 0.4}, lambda: ImageEnhance.Color(pil()).enhance(1.4), 2),
        ("Contrast", {"magnitude": 0.4}, lambda: ImageEnhance.Contrast(pil()).enhance(1.4), 2),
        ("Brightness", {"magnitude": -0.4}, lambda: ImageEnhance.Brightness(pil()).enhance(0.6), 1),
        ("Sharpness", {"magnitude": 0.5}, lambda: ImageEnhance.Sharpness(pil()).enhance(1.5), 2),
        ("Translate", {"magnitude": 0.25}, lambda: moved((1, 0, -14, 0, 1, 0)), 0),
        ("Translate", {"magnitude": 0.25, "direction": "vertical"}, lambda: moved((1, 0, 0, 0, 1, -10)), 0),
        ("Rotate", {"angle": 90.0, "pad_val": 0}, None, 0),
    ],
)
def test_operations_are_pillows(name: str, options: dict[str, Any], expected: Any, tolerance: int) -> None:
    made = once(name, **options)
    assert made.dtype == torch.uint8 and made.shape == (3, 40, 56)
    if expected is None:  # a quarter turn of the middle square
        middle = image()[:, :, 8:48]
        assert torch.equal(made[:, :, 8:48], torch.rot90(middle, -1, (1, 2)))
        return
    difference = (made.int() - tensor(expected()).int()).abs()
    assert int(difference.max()) <= tolerance, (name, difference.max())


def test_a_shear_moves_each_row_by_its_height() -> None:
    made = once("Shear", magnitude=0.5, interpolation="nearest", pad_val=[0, 128, 255])
    rows = [int((made[:, y] != torch.tensor([0, 128, 255])[:, None]).any(0).sum()) for y in (0, 20, 38)]
    assert rows == [56, pytest.approx(56 - 10, abs=1), pytest.approx(56 - 19, abs=1)]


def test_a_cut_out_square_has_its_side_and_its_fill() -> None:
    torch.manual_seed(0)
    blank = torch.full((3, 200, 200), 7, dtype=torch.uint8)
    step = AugmentPolicies([{"name": "Cutout", "shape": 20, "prob": 1.0, "pad_val": [1, 2, 3]}], 1, magnitude_std=0)
    sizes = []
    for _ in range(40):
        hole = (step(blank) == torch.tensor([1, 2, 3], dtype=torch.uint8)[:, None, None]).all(0)
        sizes.append(int(hole.sum()))
    assert max(sizes) in (400, 380, 361, 420, 441) and min(sizes) >= 80  # cut off at the border


def test_a_magnitude_is_on_the_line_from_its_first_to_its_last_level() -> None:
    for level, bits in ((0, 8), (5, 5), (10, 2)):
        policies = [{"name": "Posterize", "magnitude_range": [8, 2], "prob": 1.0}]
        made = AugmentPolicies(policies, 1, magnitude_level=level, magnitude_std=0)(image())
        assert torch.equal(made, tensor(ImageOps.posterize(pil(), bits)))


def test_the_level_varies_as_it_is_told() -> None:
    torch.manual_seed(0)
    operation = _operation({"name": "Brightness", "magnitude_range": [0, 10]})
    normal = AugmentPolicies(ALL, magnitude_level=9, magnitude_std=0.5)
    values = np.array([normal._magnitude(operation) for _ in range(4000)])
    assert abs((values < 0).mean() - 0.5) < 0.03 and np.abs(values).max() == 10.0  # cut off at the total
    kept = np.abs(values)[np.abs(values) < 10]
    assert abs(np.median(np.abs(values)) - 9) < 0.05 and kept.min() > 9 - 0.5 * 5
    even = AugmentPolicies(ALL, magnitude_level=8, magnitude_std="inf")
    values = np.abs([even._magnitude(operation) for _ in range(4000)])
    assert values.max() <= 8 and abs(values.mean() - 4) < 0.15 and abs(values.std() - 8 / math.sqrt(12)) < 0.1


def test_sub_policies_go_together_and_probabilities_are_kept() -> None:
    torch.manual_seed(0)
    both = AugmentPolicies([[{"name": "Invert", "prob": 1.0}, {"name": "Posterize", "bits": 1, "prob": 1.0}]], 1)
    assert torch.equal(both(image()), tensor(ImageOps.posterize(ImageOps.invert(pil()), 1)))
    never, half = AugmentPolicies([{"name": "Invert", "prob": 0.0}], 1), AugmentPolicies([{"name": "Invert", "prob": 0.5}], 1)
    assert torch.equal(never(image()), image())
    assert abs(np.mean([not torch.equal(half(image()), image()) for _ in range(1000)]) - 0.5) < 0.06
    some = AugmentPolicies(["Invert", "Equalize"], 3)
    assert some(image()).shape == (3, 40, 56)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"policies": [{"name": "Rotat", "angle": 3}]}, 'did you mean "Rotate"'),
        ({"policies": [{"name": "Rotate", "angel": 3}]}, 'did you mean "angle"'),
        ({"policies": [{"name": "Rotate"}]}, "expected one of angle and magnitude_range"),
        ({"policies": [{"name": "Rotate", "angle": 3, "prob": 2}]}, "from 0 to 1"),
        ({"policies": [{"name": "Shear", "magnitude": 3, "direction": "up"}]}, "horizontal or vertical"),
        ({"policies": "all"}, "expected a list"),
        ({"num_policies": 0}, "num_policies"),
        ({"magnitude_std": "some"}, "magnitude_std"),
    ],
)
def test_faults_are_named(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(TransformError, match=said):
        build({"name": "augment_policies", **arguments})


def test_lighting_has_the_covariance_of_its_components() -> None:
    step, plain = Lighting(alphastd=0.1), torch.full((3, 1, 1), 0.5, dtype=torch.float64)
    torch.manual_seed(0)
    moved = torch.stack([(step(plain) - plain).flatten() for _ in range(20_000)]) * 255
    vectors = torch.tensor([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]], dtype=torch.float64)
    values = torch.tensor([55.4625, 4.7940, 1.1475], dtype=torch.float64)
    expected = vectors @ torch.diag((0.1 * values) ** 2) @ vectors.T
    assert float(moved.mean(0).abs().max()) < 0.1
    torch.testing.assert_close(torch.cov(moved.T), expected, rtol=0.04, atol=0.05)


def test_lighting_of_pixels_and_of_fractions_is_the_same_noise() -> None:
    chain = divide([{"name": "lighting", "alphastd": 0.5}])
    whole, fraction = chain.apply_middle(image(), 5), chain.apply_middle(image().double() / 255, 5)
    assert float((whole.double() - (fraction * 255).clamp(0, 255)).abs().max()) <= 0.5001
    with pytest.raises(ValueError, match="color images"):
        Lighting()(image()[:1])
