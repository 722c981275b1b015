"""Text in, one frozen and checked object out.

    recipe = load_recipe("rocks.yaml", ["train.batch_size=32"])
    recipe.train.batch_size, recipe.optimizer.name, recipe.optimizer.arguments

YAML 1.2 and nothing more: nothing in a recipe is executed, imported or interpolated. All faults are reported at once, with file and line.
"""

from .arguments import check_arguments
from .convert_model import variants
from .document import Document
from .faults import Fault, RecipeError, nearest
from .load import load_recipe, make_recipe, read_value
from .schema import HoldOut, Named, Recipe, Source, Step
from .shipped import find, shipped
from .write import ABSENT, diff, in_short, json_schema, to_yaml

__all__ = [
    "ABSENT",
    "Document",
    "Fault",
    "HoldOut",
    "Named",
    "Recipe",
    "RecipeError",
    "Source",
    "Step",
    "check_arguments",
    "diff",
    "find",
    "in_short",
    "json_schema",
    "load_recipe",
    "make_recipe",
    "nearest",
    "read_value",
    "shipped",
    "to_yaml",
    "variants",
]
