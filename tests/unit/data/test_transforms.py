from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch

from liandan.data.transforms import (
    DETERMINISTIC,
    ELEMENTWISE,
    TRANSFORMS,
    TransformError,
    at_least,
    auto_eval,
    auto_train,
    build,
    complete,
    divide,
    signature,
)

# arguments a step cannot do without
NEEDED: dict[str, dict[str, Any]] = {
    "normalize": {"mean": [0.5], "std": [0.5]},
    "pad": {"padding": 2},
    "random_rotation": {"degrees": 30},
    "random_affine": {"degrees": 30, "translate": [0.2, 0.2], "interpolation": "bilinear"},
    "random_resize": {"min_size": 20, "max_size": 40},
    "scale_jitter": {"target_size": [24, 24]},
    "gaussian_blur": {"kernel_size": 3},
    "random_posterize": {"bits": 4},
    "random_solarize": {"threshold": 120},
    "random_adjust_sharpness": {"sharpness_factor": 2},
    "color_jitter": {"brightness": 0.5},
}
NEEDED |= {name: {"size": [24, 24]} for name in ("resize", "center_crop", "random_crop", "random_resized_crop")}


def image(height: int = 32, width: int = 32) -> torch.Tensor:
    return torch.randint(20, 200, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def shape_of(name: str) -> torch.Tensor:
    return image().float() if name == "normalize" else image()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_name_builds_and_says_what_it_takes(name: str) -> None:
    step = build({"name": name, **NEEDED.get(name, {})})
    assert step(shape_of(name)).shape[0] in (1, 3)
    assert isinstance(signature(name), inspect.Signature) and set(NEEDED.get(name, {})) <= set(signature(name).parameters)
    with pytest.raises(TransformError, match=f"{name} takes no"):
        build({"name": name, **NEEDED.get(name, {}), "nonsense": 1})


@pytest.mark.parametrize("name", sorted(DETERMINISTIC | ELEMENTWISE))
def test_what_is_called_deterministic_draws_nothing(name: str) -> None:
    before = torch.default_generator.get_state()
    step = build({"name": name, **NEEDED.get(name, {})})
    assert torch.equal(step(shape_of(name)), step(shape_of(name)))
    assert torch.equal(before, torch.default_generator.get_state())


@pytest.mark.parametrize("name", sorted(TRANSFORMS.keys() - DETERMINISTIC - ELEMENTWISE))
def test_the_key_alone_decides_the_noise(name: str) -> None:
    chain = divide([{"name": name, **NEEDED.get(name, {})}])
    torch.manual_seed(0)
    before = torch.default_generator.get_state()
    first = [chain.apply_middle(image(), 2**62 + key) for key in range(30)]
    assert torch.equal(before, torch.default_generator.get_state())  # the process's own generator is left alone
    torch.manual_seed(99)
    again = [chain.apply_middle(image(), 2**62 + key) for key in reversed(range(30))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(a.shape != first[0].shape or not torch.equal(a, first[0]) for a in first)


def test_the_generator_is_put_back_after_an_error() -> None:
    chain = divide([{"name": "random_crop", "size": 64}])
    before = torch.default_generator.get_state()
    with pytest.raises(ValueError, match="larger than"):
        chain.apply_middle(image(), 5)
    assert torch.equal(before, torch.default_generator.get_state())


def test_errors_name_the_nearest() -> None:
    with pytest.raises(TransformError, match='did you mean "random_crop"'):
        build({"name": "random_corp", "size": 3})
    with pytest.raises(TransformError, match='random_crop takes no "paddin"; did you mean "padding"'):
        build({"name": "random_crop", "size": 3, "paddin": 1})
    with pytest.raises(TransformError, match='random_crop needs "size"'):
        build({"name": "random_crop"})
    with pytest.raises(TransformError, match='did you mean "bicubic"'):
        build({"name": "resize", "size": 3, "interpolation": "bicubik"})
    with pytest.raises(TransformError, match='did you mean "cifar10"'):
        build({"name": "auto_augment", "policy": "cifar1"})
    with pytest.raises(TransformError, match="random_horizontal_flip"):
        build({"name": "random_horizontal_flip", "p": 3})
    with pytest.raises(TransformError, match="no transform"):
        build({"name": "__class__"})


def test_interpolation_reaches_the_step() -> None:
    made = [build({"name": "resize", "size": [9, 9], "interpolation": name})(image()) for name in ("nearest", "bilinear", "bicubic")]
    assert not torch.equal(made[0], made[1]) and not torch.equal(made[1], made[2])
    cifar, imagenet = (build({"name": "auto_augment", "policy": policy}) for policy in ("cifar10", "imagenet"))
    assert cifar.policy != imagenet.policy  # type: ignore[attr-defined]


def test_division() -> None:
    def names(*steps: str) -> tuple[int, int, int]:
        chain = divide([{"name": name, **NEEDED.get(name, {})} for name in steps])
        return len(chain.prefix), len(chain.middle), len(chain.tail)

    assert names("resize", "center_crop", "to_float", "normalize") == (2, 0, 2)
    assert names("resize", "random_horizontal_flip", "center_crop", "to_float", "normalize") == (1, 2, 2)
    assert names("random_crop", "to_float", "normalize") == (0, 1, 2)
    assert names("resize", "to_float", "normalize", "random_erasing") == (1, 3, 0)
    assert names("to_float", "normalize") == (0, 0, 2)
    assert names("resize") == (1, 0, 0)


def test_division_changes_nothing() -> None:
    steps = [{"name": n, **NEEDED.get(n, {})} for n in ("resize", "color_jitter", "random_affine", "to_float", "normalize")]
    steps[-1] = {"name": "normalize", "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}
    chain = divide(steps)
    got = chain.apply_tail(chain.apply_middle(chain.apply_prefix(image(50, 60)), 7)[None])[0]
    torch.manual_seed(7)
    whole = image(50, 60)
    for step in steps:
        whole = build(step)(whole)
    assert got.dtype == torch.float32 and torch.equal(got, whole)


def test_lists_end_in_what_a_model_expects() -> None:
    def names(*steps: Any) -> list[str]:
        return [step["name"] for step in complete(steps, [0.1], [0.2])]

    assert complete(["grayscale"], [0.1], [0.2])[1:] == [{"name": "to_float"}, {"name": "normalize", "mean": [0.1], "std": [0.2]}]
    own = {"name": "normalize", "mean": [0.5], "std": [0.5]}
    assert names("grayscale", own) == ["grayscale", "to_float", "normalize"]
    assert names("grayscale", "to_float") == ["grayscale", "to_float"]
    with pytest.raises(TransformError, match="expected a transform"):
        complete([{"size": 3}], [0.1], [0.2])


def test_auto() -> None:
    photo = [step["name"] for step in auto_train((224, 224), [0.5], [0.5], "bicubic", 0)]
    small = auto_train((28, 28), [0.5], [0.5], "bilinear", 255)
    assert photo == ["random_resized_crop", "random_horizontal_flip", "to_float", "normalize"]
    assert [step["name"] for step in small] == ["resize", "random_affine", "to_float", "normalize"] and small[1]["fill"] == 255
    evaluated = auto_eval((224, 224), [0.5], [0.5], 0.875, "bicubic")
    assert evaluated[0] == {"name": "resize", "size": 256, "interpolation": "bicubic"} and evaluated[1]["size"] == [224, 224]
    assert [step["name"] for step in auto_eval((28, 28), [0.5], [0.5], 0.875, "bilinear")] == ["resize", "to_float", "normalize"]
    wide = divide(auto_eval((64, 128), [0.5], [0.5], 0.9, "bilinear"))
    assert wide.apply_prefix(image(300, 40)).shape == (3, 64, 128)


def test_at_least_keeps_twice_what_a_step_needs() -> None:
    assert at_least([{"name": "resize", "size": 256}]) == 512 and at_least([{"name": "resize", "size": [10, 20]}]) == 40
    crop = at_least([{"name": "random_resized_crop", "size": 100, "scale": [0.25, 1], "ratio": [1, 1]}])
    assert crop == 400  # the smallest crop is half a side
    assert at_least([{"name": "random_crop", "size": 20}]) is None and at_least([]) is None
