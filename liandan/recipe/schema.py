"""The recipe: every key there is, with its type, its unit, its default and its limits.

All sections are frozen. Validators judge and never rewrite; the one exception is stated in `Section.shorthand`. A type that may be got
wrong in more than one way says in words what it expects (`Expects`), because `literal["auto"],constrained-int` helps nobody.
"""

import copy
import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    Strict,
    Tag,
    ValidationError,
    WrapValidator,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from .document import Document, NotPlain, plant

# ---------------------------------------------------------------------------------------------------------------- types


def Expects(text: str) -> WrapValidator:
    """What a person should write here, in place of what pydantic would say."""

    def judge(value: Any, inner: Callable[[Any], Any]) -> Any:
        try:
            return inner(value)
        except ValidationError:
            raise PydanticCustomError("expects", "{expected}", {"expected": text}) from None

    return WrapValidator(judge)


def _argument_name(name: str) -> str:
    # A leading underscore is Python's mark of what is private, and `_target_` has no meaning here.
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise PydanticCustomError("argument_name", "{expected}", {"expected": "the name of a keyword argument"})
    return name


def _freeze(value: Any) -> Any:
    """Lists as tuples, all the way down, so that no one who reads a recipe can change it for the others."""
    if isinstance(value, list | tuple):
        return tuple(_freeze(item) for item in value)
    if isinstance(value, dict):
        return {name: _freeze(item) for name, item in value.items()}
    return value


def thaw(value: Any) -> Any:
    """Tuples as lists and everything copied: plain values for YAML, JSON and keyword arguments."""
    if isinstance(value, list | tuple):
        return [thaw(item) for item in value]
    if isinstance(value, dict):
        return {name: thaw(item) for name, item in value.items()}
    return copy.copy(value)


def _plain(value: Any) -> Any:
    try:
        plant(value, "")
    except NotPlain as error:
        raise PydanticCustomError("expects", "{expected}", {"expected": error.expected}) from None
    return _freeze(value)


Text = Annotated[str, Field(min_length=1), Expects("text")]
Whole = Annotated[int, Field(ge=0), Expects("a whole number of 0 or more")]
Count = Annotated[int, Field(ge=1), Expects("a whole number above 0")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), Expects("a number above 0")]
Fraction = Annotated[float, Field(gt=0, lt=1), Expects("a number between 0 and 1, both excluded")]
Share = Annotated[float, Field(ge=0, le=1), Expects("a number from 0 to 1")]
AutoCount = Annotated[Literal["auto"] | Annotated[int, Field(ge=1)], Expects("a whole number above 0, or auto")]
AutoThreads = Annotated[Literal["auto"] | Annotated[int, Field(ge=1, le=1024)], Expects("a whole number from 1 to 1024, or auto")]
AutoWhole = Annotated[Literal["auto"] | Annotated[int, Field(ge=0)], Expects("a whole number of 0 or more, or auto")]
AutoFlag = Annotated[Literal["auto"] | bool, Expects("true, false or auto")]
Flag = Annotated[bool, Expects("true or false")]
Names = Annotated[tuple[Text, ...], Strict(False)]
FoldOf = Annotated[tuple[Count, Count], Strict(False), Expects("two whole numbers, which fold and of how many, such as [1, 5]")]
Argument = Annotated[Any, AfterValidator(_plain)]
ArgumentName = Annotated[str, AfterValidator(_argument_name)]

# ------------------------------------------------------------------------------------------------------------- sections


class Section(BaseModel):
    """A part of the recipe with its own keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, protected_namespaces=())

    # The key that a bare text stands for: `train: photos/` is `train: {path: photos/}`. The only rewriting there is.
    shorthand: ClassVar[str] = ""
    # Keys of which one excludes the others: a layer that gives one takes away the others of the layer below (see layers.py).
    alternatives: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: Any) -> Any:
        return {cls.shorthand: value} if cls.shorthand and isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        return {"anyOf": [{"type": "string"}, schema]} if cls.shorthand else schema


class Open(Section):
    """A section whose further keys are keyword arguments of what it names."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[ArgumentName, Argument] = Field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments: a fresh dict of plain values, lists as lists."""
        return thaw(self.__pydantic_extra__ or {})


class Named(Open):
    """Something looked up by name, and its keyword arguments."""

    name: Text = Field(description="name in the table of its room; every other key is a keyword argument of it")


class Optimizer(Named):
    name: Text = Field(default="adamw", description="name of the optimizer; every other key is a keyword argument of it")
    weight_decay_on: Literal["weights", "all"] = Field(
        default="weights", description="what weight_decay shrinks: weights (biases and the gains of norms are left alone), or all"
    )
    layer_decay: Fraction | None = Field(
        default=None, description="factor on the learning rate from each layer to the one before it (0 to 1); null: one rate for all"
    )


def _adamw() -> Optimizer:
    return Optimizer.model_validate({"name": "adamw", "lr": 1e-3})


class Step(Named):
    """One transform; a bare text is its name."""

    shorthand: ClassVar[str] = "name"
    name: Text = Field(description="name of the transform; every other key is a keyword argument of it")


class Duration(Section):
    """A length of training: `{epochs: 10}` or `{steps: 500}`."""

    alternatives: ClassVar[tuple[str, ...]] = ("epochs", "steps")
    epochs: Positive | None = Field(default=None, description="length in epochs (passes over the training data, parts of one allowed)")
    steps: Count | None = Field(default=None, description="length in steps (batches of batch_size samples over all processes)")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            expected = "exactly one of: epochs, steps"
            received = "none of them" if self.epochs is None else "both"
            raise PydanticCustomError("section", "{expected}", {"expected": expected, "received": received})
        return self

    @model_serializer(mode="wrap")
    def _only_one(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if key not in self.alternatives or value is not None}


class Warmup(Duration):
    shape: Literal["linear", "constant", "exponential"] = Field(
        default="linear", description="how the factor on the learning rate rises to 1"
    )
    ratio: Share | None = Field(default=None, description="factor at its first step (0 to 1); null: 1 / its length in steps")
    overlap: Flag = Field(
        default=False, description="true: a factor on the schedule, which runs from the first step; false: the schedule begins after it"
    )


class Schedule(Named):
    name: Text = Field(default="constant", description="name of the schedule; every other key is a keyword argument of it")
    warmup: Warmup | None = Field(
        default=None, description="rise of the learning rate at the start: {epochs: 1} or {steps: 100}; null for none"
    )
    by_epoch: Flag = Field(default=False, description="true: the learning rate changes only where an epoch begins; false: at every step")


class Source(Open):
    """Where samples are; a bare text is the path. Further keys are arguments of the reader."""

    shorthand: ClassVar[str] = "path"
    path: Text = Field(description="folder, list or table of the samples")
    format: Text | None = Field(default=None, description="name of the reader; null: found out from the files")


class HoldOut(Section):
    """A part of the training data that is kept for validation."""

    alternatives: ClassVar[tuple[str, ...]] = ("hold_out", "fold")
    hold_out: Fraction = Field(default=0.2, description="part of the training samples that is held out (0 to 1)")
    fold: FoldOf | None = Field(default=None, description="held out instead: fold i of k equal ones, [i, k], numbered from 1")
    stratify: Flag = Field(default=True, description="hold out the same part of every class")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.fold is not None and "hold_out" in self.model_fields_set:
            expected = "exactly one of: hold_out, fold"
            raise PydanticCustomError("section", "{expected}", {"expected": expected, "received": "both"})
        if self.fold is not None and not (self.fold[0] <= self.fold[1] >= 2):
            _fault("fold", "[i, k] with i from 1 to k, and at least 2 folds", f"[{self.fold[0]}, {self.fold[1]}]")
        return self

    @model_serializer(mode="wrap")
    def _only_one(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        gone = "hold_out" if self.fold is not None else "fold"
        return {key: value for key, value in handler(self).items() if key != gone}


def _is_source(value: Any) -> str:
    if isinstance(value, Mapping):
        return "(Source)" if "path" in value or ("format" in value and not HoldOut.model_fields.keys() & value.keys()) else "(HoldOut)"
    return "(HoldOut)" if isinstance(value, HoldOut) else "(Source)"


# What pydantic puts into its locations for the members of a union; explain.py takes them out again.
TAGS = frozenset({"(HoldOut)", "(Source)", "(auto)", "(list)"})
Validation = Annotated[Annotated[HoldOut, Tag("(HoldOut)")] | Annotated[Source, Tag("(Source)")], Discriminator(_is_source)]
Steps = Annotated[
    Annotated[Literal["auto"], Expects("a list of transforms, or auto"), Tag("(auto)")]
    | Annotated[tuple[Step, ...], Strict(False), Tag("(list)")],
    Discriminator(lambda value: "(list)" if isinstance(value, Sequence) and not isinstance(value, str) else "(auto)"),
]


class Mix(Section):
    """Training samples mixed with others of the split; both given: each half of the time."""

    mixup: Positive | None = Field(default=None, description="blend two images: alpha of Beta(alpha, alpha), which draws the share")
    cutmix: Positive | None = Field(default=None, description="a box of one image in the other: alpha of Beta(alpha, alpha)")
    probability: Share = Field(default=1.0, description="part of the training samples (0 to 1) that are mixed")

    @model_validator(mode="after")
    def _any(self) -> Self:
        if self.mixup is None and self.cutmix is None:
            raise PydanticCustomError("section", "{expected}", {"expected": "mixup, cutmix, or both", "received": "none of them"})
        return self


class Transforms(Section):
    train: Steps = Field(default="auto", description="transforms of training samples, in order; auto: from the model's own preprocessing")
    eval: Steps = Field(default="auto", description="transforms of every other sample, in order; auto: from the model's own preprocessing")
    mix: Mix | None = Field(default=None, description="how training samples are mixed after their transforms: {mixup: 0.2}; null: not")


class TextData(Section):
    tokenizer: Literal["auto", "bpe", "characters"] = Field(
        default="auto",
        description="tokens: pieces learned by byte-pair encoding, or single characters; auto: those of the model, bpe when it has none",
    )
    vocab_size: Count = Field(default=4096, description="number of tokens to learn (bpe)")
    context: Count = Field(default=128, description="length of a training sequence (tokens)")
    template: Text = Field(
        default="auto", description="how a conversation is written: chatml or plain; auto: the model's own way, else chatml"
    )
    packing: Flag = Field(
        default=False,
        description="true: conversations of a batch share rows, none sees another; less padding to compute, the loss stays the same",
    )


class Data(Section):
    train: Source = Field(description="the training samples", examples=["photos/"])
    val: Validation | None = Field(
        default_factory=HoldOut, description="validation: {hold_out: 0.2} of the training samples, or a path; null for none"
    )
    test: Source | None = Field(default=None, description="samples that are kept for the end; null for none")
    transforms: Transforms = Field(default_factory=Transforms, description="what is done to a sample before the model sees it")
    sampling: Named | None = Field(
        default=None,
        description="how often training samples come: {name: balanced}, {name: repeat, threshold: 0.1}; null: each once an epoch",
    )
    text: TextData = Field(default_factory=TextData, description="how text becomes tokens")
    workers: AutoWhole = Field(default="auto", description="processes that load samples (0: none beside the training process)")
    unreadable: Literal["skip", "raise"] = Field(default="skip", description="what to do with a sample that cannot be read")
    max_unreadable: Share = Field(default=0.01, description="part of the samples (0 to 1) that may be unreadable before the run stops")
    worker_timeout: Positive = Field(default=120.0, description="how long one batch may take to load (seconds)")


class Unfreeze(Section):
    """What begins to learn after a part of the run."""

    at: Duration = Field(description="after how much of the run: {epochs: 2} or {steps: 500}")
    modules: Names = Field(description="frozen parts that learn from then on: prefixes of parameter names, or backbone")


class Model(Named):
    name: Text = Field(
        description="timm/..., torchvision/..., liandan/..., hf/<folder, hub id, file.gguf or source:entry>; others: its keyword arguments",
        examples=["liandan/lenet5"],
    )
    weights: Text = Field(default="none", description="where the weights come from: none, pretrained, a path, or run:<name of a run>")
    freeze: Names = Field(default=(), description="parts that do not learn: prefixes of parameter names, or backbone")
    adapter: Named | None = Field(
        default=None,
        description="small trainable parts beside frozen weights: lora or dora, with rank, alpha, dropout, targets; null for none",
    )
    quantize: Literal["nf4"] | None = Field(
        default=None,
        description="how the frozen weights beside an adapter are held in memory: nf4, 4 bits each (QLoRA); null: as they are",
    )
    unfreeze: Annotated[tuple[Unfreeze, ...], Strict(False)] = Field(
        default=(), description="frozen parts that begin to learn later, in order: [{at: {epochs: 2}, modules: [blocks.6]}]"
    )


class Train(Section):
    duration: Duration = Field(default_factory=lambda: Duration(epochs=10.0), description="length of the run: {epochs: 10} or {steps: 500}")
    batch_size: Count = Field(default=64, description="samples of one step, over all processes")
    micro_batch_size: AutoCount = Field(
        default="auto", description="samples of one forward and backward pass in one process; auto: as many as fit"
    )
    precision: Literal["auto", "fp64", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="number format of the forward and backward pass"
    )
    compile: AutoFlag = Field(default="auto", description="whether the loss is compiled; auto: when the run is long enough to pay for it")
    clip_norm: Positive | None = Field(default=None, description="upper limit of the gradient's L2 norm; null for none")
    ema: Fraction | None = Field(default=None, description="decay of the moving average of the weights, a step (0 to 1); null for none")
    threads: AutoThreads = Field(default="auto", description="CPU threads of the training process")
    log_every: AutoCount = Field(default="auto", description="distance of two rows of the metrics (steps)")
    non_finite: Literal["stop", "skip"] = Field(default="stop", description="what to do when a loss or a gradient is infinite or NaN")

    @model_validator(mode="after")
    def _micro_fits(self) -> Self:
        if self.micro_batch_size != "auto" and self.micro_batch_size > self.batch_size:
            _fault("micro_batch_size", f"at most train.batch_size, {self.batch_size}", str(self.micro_batch_size))
        return self


class Best(Section):
    metric: Text = Field(description="metric that says which checkpoint is the best, as <split>/<name>", examples=["val/accuracy"])
    mode: Literal["min", "max"] = Field(description="whether the smallest or the largest value is the best")


def _each_epoch() -> Duration:
    return Duration(epochs=1.0)


class Evaluate(Section):
    every: Duration = Field(default_factory=_each_epoch, description="distance of two evaluations: {epochs: 1} or {steps: 500}")
    metrics: Names | None = Field(default=None, description="names of the metrics; null: the task's own")
    best: Best | None = Field(default=None, description="what makes a checkpoint the best; null: the task's own")
    stop_after: Count | None = Field(default=None, description="stop after so many evaluations without improvement; null: never")
    batch_size: AutoCount = Field(default="auto", description="samples of one forward pass")
    tta: Names = Field(default=(), description="views a prediction is averaged over, beside the sample itself: hflip, vflip (images)")


class Checkpoint(Section):
    every: Duration = Field(default_factory=_each_epoch, description="distance of two checkpoints: {epochs: 1} or {steps: 500}")
    keep: Count = Field(default=2, description="number of newest checkpoints that are kept, beside the best")


class Run(Section):
    dir: Text | None = Field(default=None, description="the run's directory, exactly; null: runs/<name>/<date>-<time>")


class Distributed(Section):
    strategy: Literal["auto", "reduce", "deepspeed"] = Field(
        default="auto", description="how processes share the work: reduce sums their gradients; deepspeed also shares out what zero says"
    )
    zero: Literal[1, 2] = Field(default=2, description="deepspeed's stage: 1 shares out the optimizer's state, 2 the gradients too")


class Recipe(Section):
    """One run: what is learned, from what, how, and where it is kept. Made by `load_recipe` and `make_recipe`."""

    version: Literal[1] = Field(default=1, description="version of the recipe's format")
    task: Text = Field(description="what is learned", examples=["image_classification"])
    name: Text | None = Field(default=None, description="name of the run's folder in runs/; null: the recipe file's name")
    seed: Whole = Field(default=0, description="seed of everything that is random")
    data: Data = Field(description="what is learned from", examples=["{train: photos/}"])
    model: Model = Field(description="what learns", examples=["{name: liandan/lenet5}"])
    loss: Named | None = Field(default=None, description="the loss; null: the task's own")
    optimizer: Optimizer = Field(default_factory=_adamw, description="how the weights move")
    schedule: Schedule = Field(default_factory=Schedule, description="how the learning rate changes with the step")
    train: Train = Field(default_factory=Train, description="how long, in what portions and in which precision")
    evaluate: Evaluate = Field(default_factory=Evaluate, description="when and by what the model is judged")
    checkpoint: Checkpoint = Field(default_factory=Checkpoint, description="when the state of the run is saved")
    run: Run = Field(default_factory=Run, description="where the run is kept")
    device: Text = Field(default="auto", description="auto, cpu, cuda, cuda:<index> or another torch device")
    distributed: Distributed = Field(default_factory=Distributed, description="how several processes work together")

    _document: Document | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _can_stop(self) -> Self:
        if self.evaluate.stop_after is not None and self.data.val is None:
            _fault("evaluate.stop_after", "null, because data.val is null and nothing is evaluated", str(self.evaluate.stop_after))
        return self

    @property
    def document(self) -> Document:
        """The values as they were written, and the place of each."""
        return self._document or Document(self.values(), {})

    def values(self) -> dict[str, Any]:
        """Every value, defaults included, as plain mappings, lists and scalars in the order of the schema."""
        return thaw(self.model_dump())

    def with_values(self, values: Mapping[str, Any], origin: str = "with_values") -> "Recipe":
        """This recipe with other values: `recipe.with_values({"train.precision": "fp32"})`.

        Judged as a whole again; every other key keeps its place. `origin` is what faults say of the new ones. Raises RecipeError.
        """
        from .load import revise  # load.py makes recipes of this schema

        return revise(self.document, values, origin)

    def __eq__(self, other: object) -> bool:
        # The same values are the same recipe, wherever they were written.
        return isinstance(other, Recipe) and self.values() == other.values()


def _fault(key: str, expected: str, received: str) -> None:
    raise PydanticCustomError("section", "{expected}", {"key": key, "expected": expected, "received": received})


# ----------------------------------------------------------------------------------------------------------- the tree


def sections_in(annotation: Any) -> tuple[type[Section], ...]:
    """The sections that may stand where this annotation does, also as items of a list."""
    if isinstance(annotation, type):
        return (annotation,) if issubclass(annotation, Section) else ()
    return tuple(section for part in get_args(annotation) for section in sections_in(part))


def fields_at(key: str) -> dict[str, FieldInfo]:
    """The fields that the schema has in the section at a dotted key; none where keys are free."""
    sections: tuple[type[Section], ...] = (Recipe,)
    for part in re.findall(r"[^.\[\]]+(?=[.\[]|$)", key):
        sections = sections_below(sections, part)
    return {name: field for section in reversed(sections) for name, field in section.model_fields.items()}


def description_of(key: str) -> str:
    """What the key at a dotted place means, with its unit; empty for a keyword argument."""
    parent, _, name = key.rpartition(".")
    field = fields_at(parent).get(name)
    return (field.description or "") if field else ""


def sections_below(sections: tuple[type[Section], ...], name: str) -> tuple[type[Section], ...]:
    """The sections that may stand under the key `name` of one of `sections`."""
    fields = [section.model_fields[name] for section in sections if name in section.model_fields]
    return tuple(section for field in fields for section in sections_in(field.annotation))
