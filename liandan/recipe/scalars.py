"""The scalars of YAML 1.2, read and written.

The core schema of YAML 1.2.2, section 10.3.2 (https://yaml.org/spec/1.2.2/#1032-tag-resolution), and nothing beside it: `1e-4` is a number,
`no`, `on`, `1:30` and `2024-01-01` are text. Both directions stand here together so that what is written is read back as the same value.
"""

import math
import re

Scalar = str | int | float | bool | None

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_NAN = frozenset({".nan", ".NaN", ".NAN"})

# Python refuses to turn thousands of digits into an int, and no argument has that many: longer ones stay text, and are judged as text.
MAX_NUMBER = 100

# What may stand without quotes, in a block as well as inside [...] and {...}: a word that begins with a letter, a digit, `/` or `.`.
_PLAIN = re.compile(r"[\w/.][\w/.+-]*( [\w/.+-]+)*")


def resolve(text: str) -> Scalar:
    """The value of an unquoted YAML 1.2 scalar."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if len(text) > MAX_NUMBER:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEXADECIMAL.fullmatch(text):
        return int(text[2:], 16)
    if infinite := _INFINITE.fullmatch(text):
        return -math.inf if infinite[1] == "-" else math.inf
    return math.nan if text in _NAN else text


def quote(text: str) -> str:
    """Text as a double-quoted YAML scalar on one line, whatever it holds: also safe to show in a terminal."""
    return '"' + "".join(_escape(character) for character in text) + '"'


def _escape(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    short = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character)
    if short:
        return short
    code = ord(character)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def write(value: Scalar) -> str:
    """A scalar as YAML that `resolve` reads back as the same value; text is quoted only where it must be."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return ".nan" if math.isnan(value) else repr(value).replace("inf", ".inf")
    if isinstance(value, int):
        return str(value)
    plain = len(value) <= MAX_NUMBER and _PLAIN.fullmatch(value) and value.isprintable() and not value.startswith("...")
    return value if plain and isinstance(resolve(value), str) else quote(value)
