"""Published ImageNet weights under other names: the network still knows what it knew. Photographs are Tux Paint's stamps, on white."""

from pathlib import Path

import pytest
import torch
from timm.data.imagenet_info import ImageNetInfo
from torchvision.transforms.v2 import functional as F

from liandan import models, sources
from liandan.data.images import decode
from liandan.models.weights import WeightsError, load_weights

# A stamp, and the names of ImageNet that are right for it. Chosen by their names alone, before any network saw them.
STAMPS = {
    "animals/birds/drake": ["drake"], "animals/birds/hen": ["hen"], "animals/birds/magpie": ["magpie"],
    "animals/birds/ostrich": ["ostrich"], "animals/birds/peacock": ["peacock"],
    "animals/birds/pelican": ["pelican"], "animals/birds/pink_flamingo": ["flamingo"],
    "animals/birds/rooster": ["cock"], "animals/birds/vulture": ["vulture"], "animals/fish/clownfish": ["anemone fish"],
    "animals/fish/lionfish": ["lionfish"], "animals/fish/lobster": ["American lobster", "spiny lobster", "crayfish"],
    "animals/insects/bee": ["bee"], "animals/insects/fly": ["fly"], "animals/insects/grasshopper": ["grasshopper", "cricket"],
    "animals/insects/mantis": ["mantis"], "animals/lizards/iguana": ["common iguana"], "animals/mammals/apes/chimp": ["chimpanzee"],
    "animals/mammals/apes/gorilla": ["gorilla"], "animals/mammals/aquatic/orca": ["killer whale"], "animals/mammals/badger": ["badger"],
    "animals/mammals/aquatic/sea_lion": ["sea lion"], "animals/mammals/bears/bear": ["brown bear", "American black bear"],
    "animals/mammals/bovines/bison": ["bison"], "animals/mammals/bovines/ram": ["ram", "bighorn"],
    "animals/mammals/camel/dromedary": ["Arabian camel"], "animals/mammals/cats/lion": ["lion"], "animals/mammals/cats/tiger": ["tiger"],
    "animals/mammals/dogs/dingo": ["dingo"], "animals/mammals/dogs/fox": ["red fox", "kit fox"], "animals/mammals/equines/zebra": ["zebra"],
    "animals/mammals/elephant": ["African elephant", "Indian elephant", "tusker"], "animals/mammals/hippopotamus": ["hippopotamus"],
    "animals/mammals/pig": ["hog"], "animals/mammals/rodents/beaver": ["beaver"], "animals/mammals/rodents/marmot": ["marmot"],
    "animals/mammals/wildboar": ["wild boar"], "animals/marsupials/koala": ["koala"], "animals/marsupials/wombat": ["wombat"],
    "food/fruit/apple_granny_smith": ["Granny Smith"], "food/fruit/banana": ["banana"], "food/fruit/lemon": ["lemon"],
    "food/fruit/orange": ["orange"], "food/fruit/pineapple": ["pineapple"], "food/fruit/pomegranate": ["pomegranate"],
    "food/fruit/strawberry": ["strawberry"], "food/pizza": ["pizza"], "food/vegetables/broccoli": ["broccoli"],
    "food/vegetables/corn": ["corn", "ear"], "food/vegetables/mushroom": ["mushroom", "agaric"], "hobbies/binoculars": ["binoculars"],
    "hobbies/music/string/cello": ["cello"], "hobbies/music/string/violin": ["violin"],
    "hobbies/music/string/guitar_classical": ["acoustic guitar"], "hobbies/music/string/guitar_electric": ["electric guitar"],
    "household/dishes/teapot": ["teapot"], "household/tools/hammer": ["hammer"], "household/toilet": ["toilet seat"],
    "medical/stethoscope": ["stethoscope"], "medical/syringe": ["syringe"], "sports/basketball": ["basketball"],
    "sports/soccer": ["soccer ball"], "sports/tennis_ball": ["tennis ball"], "town/roadsigns/stoplight_01_red": ["traffic light"],
    "vehicles/emergency/firetruck": ["fire engine"], "vehicles/flight/planes/747": ["airliner"], "vehicles/garbagetruck": ["garbage truck"],
    "vehicles/flight/balloon360": ["balloon"], "vehicles/auto/sportscar2": ["sports car"], "vehicles/race/indycar": ["racer"],
}  # fmt: skip


@pytest.fixture(scope="module")
def lite0() -> Path:
    return next(sources.get("efficientnet-lite0").rglob("*.pth"))


def photograph(path: Path, name: str) -> torch.Tensor:
    """float (3, size, size) as the model's own preprocessing has it: resize, crop, normalize."""
    own = models.defaults(name)
    whole = F.resize(decode(path), [round(own["size"] / own["crop_pct"])], F.InterpolationMode.BICUBIC, antialias=True)
    return F.normalize(F.center_crop(whole, [own["size"]]).float() / 255, own["mean"], own["std"])


def classes() -> dict[str, set[int]]:
    """ImageNet's indices by each of the names of a class."""
    info, found = ImageNetInfo(), {}
    for i in range(1000):
        for name in info.index_to_description(i).split(", "):
            found.setdefault(name, set()).add(i)
    return found


@torch.no_grad()
def test_sensible_classes_come_first(lite0: Path) -> None:
    name, known = "timm/tf_efficientnet_lite0", classes()
    model = models.build(name).eval()
    report = load_weights(model, lite0)
    assert len(report.loaded) == 296 and not (report.missing or report.unexpected or report.reinitialized)
    folder = sources.get("tuxpaint-stamps")
    right = [{i for word in words for i in known[word]} for words in STAMPS.values()]
    top5 = model(torch.stack([photograph(folder / f"{stamp}.png", name) for stamp in STAMPS])).topk(5).indices.tolist()
    hits = sum(bool(truth & set(guess)) for truth, guess in zip(right, top5, strict=True))
    first = sum(guess[0] in truth for truth, guess in zip(right, top5, strict=True))
    chance = 5 * sum(map(len, right)) / 1000
    assert chance < 0.5  # hits expected of a network that knows nothing
    assert hits >= 0.8 * len(STAMPS) and first >= 0.6 * len(STAMPS), f"top-5 {hits}, top-1 {first} of {len(STAMPS)}; chance {chance:.1f}"


def test_the_plain_architecture_is_refused(lite0: Path) -> None:
    with pytest.raises(WeightsError, match="SAME padding.*fits timm/tf_efficientnet_lite0"):
        load_weights(models.build("timm/efficientnet_lite0"), lite0)
