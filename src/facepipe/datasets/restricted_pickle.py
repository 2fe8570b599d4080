# SPDX-License-Identifier: Apache-2.0
"""Pickles read as data: an interpreter of the opcodes that make plain values, which imports and calls nothing.

Verification sets, image records, old galleries and weights are pickles, and a pickle is a program. `pickle.Unpickler`
with a guarded `find_class` still runs that program; here the opcodes are read by a table that knows values only. The
names that NumPy's arrays, PyTorch's tensors and Python 3's old bytes are written with are recognised as words, never
looked up. Anything else ends the reading at that opcode.

Time and memory are bounded by the file's size. A file has FREE_STEPS opcodes and one more for every BYTES_A_STEP bytes;
texts and arrays made from what was noted earlier may have COPIES times its bytes; a dictionary's key is a short text:
other keys could be chosen so that they collide, and texts are hashed with a secret.

Source: Python's `Lib/pickletools.py` (the description of every opcode, protocols 0 to 5), NumPy's documentation of
`ndarray.__reduce__`, and `torch/_utils.py` and `torch/serialization.py` of PyTorch.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from facepipe.errors import DataError

PLAIN = ("list", "bool", "int", "bytes")
"""What a verification set may hold, beside the tuple around it."""

FREE_STEPS = 1 << 20
BYTES_A_STEP = 16
COPIES = 4
LONGEST_KEY = 1000

_MARK = object()
_BYTES = ("_codecs.encode", "__builtin__.bytes", "builtins.bytes")
_ARRAYS = (
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.ndarray",
    "numpy.dtype",
)
_TENSORS = ("collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch.FloatStorage")
_DTYPES = frozenset(["b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])


@dataclass(frozen=True, slots=True)
class _Name:
    """A dotted name that the file mentions; it stands for itself."""

    text: str


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor of PyTorch as a pickle mentions it: its float32 numbers lie elsewhere in the file.

    Attributes:
        storage: the name of the block of numbers.
        count: how many numbers that block has.
        offset: of the first one in it.
        shape, strides: as NumPy has them, strides in numbers; all are 0 or more.
    """

    storage: str
    count: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Storage:
    """A block of float32 numbers that lies elsewhere in the file."""

    name: str
    count: int


@dataclass(slots=True)
class _Unfinished:
    """An array or dtype whose state has not come yet; `memo` lists where it was noted, until it is finished."""

    kind: str  # "array" or "dtype"
    code: str = ""
    memo: list[int] = field(default_factory=list)
    finished: bool = False


class _Malformed(Exception):
    """The stream is no pickle that this reader admits; the text completes "it ..."."""


def read_pickle(content: bytes, where: str, kinds: Iterable[str] = PLAIN) -> Any:
    """The value in a pickle, of `kinds` alone.

    Args:
        content: the whole file. A Python 2 `str` comes back as bytes.
        where: the file's name, for the error.
        kinds: of "list", "tuple", "dict", "bool", "int", "float", "bytes", "str", "none", "array" (a NumPy array of
            numbers), "tensor" (PyTorch's, of float32: a StoredTensor); everything within the value, at any depth, must
            be one of them. With tensors, an OrderedDict comes back as a dictionary, without its attribute `_metadata`.

    Raises:
        DataError: the stream names any class or function, is of another kind, is cut short, or is no pickle. Nothing
            that the stream names has been imported or called by then.
    """
    (value,), _ = read_pickles(content, where, kinds, 1)
    return value


def read_pickles(content: bytes, where: str, kinds: Iterable[str], count: int) -> tuple[tuple[Any, ...], int]:
    """The values of `count` pickles that follow one another, and the place behind the last.

    Arguments and errors are those of `read_pickle`; the limits of time and memory are for all together.
    """
    admitted = tuple(kinds)
    reader = _Reader(content, admitted)
    try:
        values = tuple(reader.read() for _ in range(count))
        for value in values:
            _require(value, admitted)
    except _Malformed as error:
        raise DataError(
            f"{where}: {error}, expected a pickle of {', '.join(admitted)} alone.",
            "ask where the file came from before you trust it; nothing in it was executed.",
        ) from None
    return values, reader.at


def _require(value: Any, kinds: tuple[str, ...]) -> None:
    """Every part of `value` is of `kinds`. Each object is looked at once, so shared and circular lists end."""
    pending, seen = [value], set()
    while pending:
        part = pending.pop()
        kind = _kind(part)
        if kind not in kinds:
            raise _Malformed(f"it holds a value of kind '{kind}'")
        if isinstance(part, (list, tuple, dict)):
            if id(part) in seen:
                continue
            seen.add(id(part))
            pending.extend(part)
            if isinstance(part, dict):
                pending.extend(part.values())


def _kind(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, np.ndarray):
        return "array"
    if isinstance(value, _Name):
        return f"name {value.text}"
    if isinstance(value, StoredTensor):
        return "tensor"
    return "unfinished array" if isinstance(value, _Unfinished) else type(value).__name__


class _Reader:
    """One pass over one stream: a stack, a memo, a position."""

    def __init__(self, content: bytes, kinds: tuple[str, ...]) -> None:
        self.content = content
        self.at = 0
        self.stack: list[Any] = []
        self.memo: list[Any] = []
        self.steps = FREE_STEPS + len(content) // BYTES_A_STEP
        self.copied = COPIES * len(content)
        self.has_dict = "dict" in kinds
        self.has_tensors = "tensor" in kinds
        self.names = (_BYTES if "bytes" in kinds or "array" in kinds else ()) + (_ARRAYS if "array" in kinds else ())
        self.names += _TENSORS if self.has_tensors else ()

    def read(self) -> Any:
        self.memo = []
        try:
            while True:
                opcode = self.take(1)[0]
                self.steps -= 1
                if self.steps < 0:
                    raise _Malformed(f"it has more steps than a file of {len(self.content):,} bytes needs")
                if opcode == 0x2E:  # STOP
                    break
                action = _ACTIONS.get(opcode)
                if action is None:
                    raise _Malformed(f"it has opcode 0x{opcode:02x} at byte {self.at - 1}, which makes no plain value")
                action(self)
            value = self.pop()
        except (IndexError, KeyError, TypeError, ValueError, struct.error, OverflowError) as error:
            raise _Malformed(f"it is damaged at byte {self.at} ({type(error).__name__})") from error
        if self.stack:
            raise _Malformed(f"it ends with {len(self.stack)} values left over")
        return value

    def take(self, count: int) -> bytes:
        piece = self.content[self.at : self.at + count]
        if len(piece) != count:
            raise _Malformed(f"it is cut short at byte {self.at}")
        self.at += count
        return piece

    def line(self) -> bytes:
        end = self.content.find(b"\n", self.at)
        if end < 0:
            raise _Malformed(f"it is cut short at byte {self.at}")
        piece, self.at = self.content[self.at : end], end + 1
        return piece

    def number(self, form: str) -> int:
        value: int = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return value

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise _Malformed(f"it has no value where byte {self.at} wants one")
        return value

    def since_mark(self) -> list[Any]:
        """The values above the last mark, taken off with it."""
        for depth in range(len(self.stack) - 1, -1, -1):
            if self.stack[depth] is _MARK:
                values = self.stack[depth + 1 :]
                del self.stack[depth:]
                return values
        raise _Malformed(f"it has no mark where byte {self.at} wants one")

    def top(self, kind: type) -> Any:
        value = self.stack[-1]
        if type(value) is not kind:
            raise _Malformed(f"it adds to a {_kind(value)} at byte {self.at} as if it were a {kind.__name__}")
        return value

    def note(self, key: int) -> None:
        value = self.stack[-1]
        if value is _MARK:
            raise _Malformed(f"it notes a mark at byte {self.at}")
        if isinstance(value, _Unfinished) and not value.finished:
            value.memo.append(key)
        # Python 2 numbers from 1, everything else from 0, and nothing leaves any out.
        if not 0 <= key <= len(self.memo) + 1:
            raise _Malformed(f"it notes a value as number {key}, and only {len(self.memo)} before it")
        self.memo += [_MARK] * (key + 1 - len(self.memo))
        self.memo[key] = value

    def recall(self, key: int) -> None:
        value = self.memo[key] if 0 <= key < len(self.memo) else _MARK
        if value is _MARK:
            raise _Malformed(f"it wants value number {key}, which it has not noted")
        self.push(value)

    def place(self) -> int:
        """The number of a noted value, as text."""
        text = self.line()
        if len(text) > 20:
            raise _Malformed(f"it has a number of {len(text)} digits")
        return int(text)

    def copy(self, count: int) -> None:
        """Count the bytes of a value that is made from others."""
        self.copied -= count
        if self.copied < 0:
            raise _Malformed("it repeats its texts or arrays more often than its size allows")

    def number_of_floating_point(self) -> None:
        text = self.line()
        if len(text) > 40:
            raise _Malformed(f"it has a floating-point number of {len(text)} digits")
        self.push(float(text))

    # Opcodes that need more than one expression, in the order of the table below.

    def decimal(self) -> None:
        """INT and LONG, as text; I00 and I01 are protocol 0's booleans."""
        text = self.line()
        if text in (b"00", b"01"):
            self.push(text == b"01")
            return
        if len(text) > 24:
            raise _Malformed(f"it has an integer of {len(text)} digits")
        self.push(int(text.rstrip(b"L")))

    def quoted(self) -> None:
        """STRING: Python 2's text form of a byte string."""
        text = self.line()
        if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
            raise _Malformed(f"it has a string without quotes before byte {self.at}")
        self.push(codecs.escape_decode(text[1:-1])[0])  # type: ignore[attr-defined]

    def set_items(self, values: list[Any]) -> None:
        if len(values) % 2:
            raise _Malformed(f"it has a key without a value before byte {self.at}")
        target = self.top(dict)
        for key, value in zip(values[::2], values[1::2], strict=True):
            if type(key) not in (str, bytes) or len(key) > LONGEST_KEY:
                raise _Malformed(f"it has a dictionary key that is no text of at most {LONGEST_KEY} letters")
            target[key] = value

    def new_dict(self) -> None:
        if not self.has_dict:
            raise _Malformed("it holds a value of kind 'dict'")
        self.push({})

    def make_dict(self) -> None:
        values = self.since_mark()
        self.new_dict()
        self.set_items(values)

    def append_all(self) -> None:
        values = self.since_mark()
        self.top(list).extend(values)

    def append_one(self) -> None:
        value = self.pop()
        self.top(list).append(value)

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def make_tuple(self, count: int) -> None:
        self.push(tuple([self.pop() for _ in range(count)][::-1]))

    def mention(self, module: str, name: str) -> None:
        """GLOBAL and STACK_GLOBAL: a name is compared with the few that are admitted, and kept as a word."""
        text = f"{module}.{name}"
        if text not in self.names:
            raise _Malformed(f"it names '{text[:80]}'")
        self.push(_Name(text))

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise _Malformed("it names something that is no text")
        self.mention(module, name)

    def reduce(self) -> None:
        """REDUCE: the ways in which plain bytes, arrays and tensors are written as calls, by their exact form."""
        arguments, name = self.pop(), self.pop()
        if type(name) is not _Name or type(arguments) is not tuple:
            raise _Malformed(f"it calls a value of kind '{_kind(name)}'")
        match name.text.rpartition(".")[2], arguments:
            case "encode", (str(text), "latin1"):
                self.copy(len(text))
                self.push(text.encode("latin-1"))
            case "bytes", ():
                self.push(b"")
            case "_reconstruct", (_Name("numpy.ndarray"), (0,), b"b" | "b"):
                self.push(_Unfinished("array"))
            case "dtype", (str() | bytes() as code, _, _):
                word = code if isinstance(code, str) else code.decode("ascii")
                if word not in _DTYPES:
                    raise _Malformed(f"it holds an array of dtype '{word[:80]}'")
                self.push(_Unfinished("dtype", word))
            case "OrderedDict", ():
                self.new_dict()
            case "_rebuild_tensor_v2", (_Storage() as stored, offset, tuple() as shape, tuple() as strides, bool(), {}):
                if len(shape) != len(strides) or any(type(n) is not int or n < 0 for n in (offset, *shape, *strides)):
                    raise _Malformed("it holds a tensor of a shape that is none")
                self.push(StoredTensor(stored.name, stored.count, offset, shape, strides))
            case _:
                raise _Malformed(f"it calls '{name.text}' in a form that is not admitted")

    def persistent(self) -> None:
        """BINPERSID: where the numbers of a tensor lie."""
        match self.pop():
            case ("storage", _Name("torch.FloatStorage"), str(name), str(), int(count), None) if count >= 0:
                self.push(_Storage(name, count))
            case _:
                raise _Malformed("it points to something else than a block of float32 numbers")

    def build(self) -> None:
        """BUILD: the state of a dtype (its byte order) or of an array (shape, dtype, order, bytes). What PyTorch notes
        of a state dict's versions is passed over."""
        state, target = self.pop(), self.pop()
        if self.has_tensors and type(target) is dict and type(state) is dict and list(state) == ["_metadata"]:
            self.push(target)
            return
        if not isinstance(target, _Unfinished) or target.finished:
            raise _Malformed(f"it sets the state of a {_kind(target)}")
        match target.kind, state:
            case "dtype", (3, str() | bytes() as order, None, None, None, -1, -1, 0):
                mark = order if isinstance(order, str) else order.decode("ascii")
                if mark not in ("<", ">", "|", "="):
                    raise _Malformed(f"it holds an array of byte order '{mark[:80]}'")
                finished: Any = np.dtype(mark + target.code)
            case "array", (1, tuple() as shape, np.dtype() as dtype, bool() | int() as fortran, bytes() as data):
                if any(type(size) is not int or size < 0 for size in shape):
                    raise _Malformed("it holds an array of a shape that is none")
                self.copy(len(data))
                finished = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
            case _:
                raise _Malformed(f"it sets the state of an {target.kind} in a form that is not admitted")
        for key in target.memo:
            self.memo[key] = finished
        target.memo, target.finished = [], True
        self.push(finished)


def _constant(value: Any) -> Callable[[_Reader], None]:
    return lambda reader: reader.push(value)


def _sized(form: str, finish: Callable[[bytes], Any] = bytes) -> Callable[[_Reader], None]:
    """A length in `form`, then that many bytes."""
    return lambda reader: reader.push(finish(reader.take(reader.number(form))))


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogatepass")


def _little_endian(content: bytes) -> int:
    return int.from_bytes(content, "little", signed=True)


_ACTIONS: dict[int, Callable[[_Reader], Any]] = {
    0x80: lambda r: r.take(1),  # PROTO
    0x95: lambda r: r.take(8),  # FRAME: only a hint for buffered reading
    ord("("): _constant(_MARK),
    ord("0"): lambda r: r.stack.pop(),  # POP, of a mark too
    ord("1"): lambda r: r.since_mark(),  # POP_MARK
    ord("2"): lambda r: r.push(r.stack[-1]),  # DUP
    ord("N"): _constant(None),
    0x88: _constant(True),
    0x89: _constant(False),
    ord("I"): _Reader.decimal,
    ord("L"): _Reader.decimal,
    ord("J"): lambda r: r.push(r.number("<i")),
    ord("K"): lambda r: r.push(r.number("<B")),
    ord("M"): lambda r: r.push(r.number("<H")),
    0x8A: _sized("<B", _little_endian),  # LONG1
    ord("F"): _Reader.number_of_floating_point,
    ord("G"): lambda r: r.push(struct.unpack(">d", r.take(8))[0]),
    ord("S"): _Reader.quoted,
    ord("T"): _sized("<I"),  # BINSTRING
    ord("U"): _sized("<B"),  # SHORT_BINSTRING
    ord("B"): _sized("<I"),  # BINBYTES
    ord("C"): _sized("<B"),  # SHORT_BINBYTES
    0x8E: _sized("<Q"),  # BINBYTES8
    ord("V"): lambda r: r.push(r.line().decode("raw-unicode-escape")),
    ord("X"): _sized("<I", _text),
    0x8C: _sized("<B", _text),
    0x8D: _sized("<Q", _text),
    ord("]"): lambda r: r.push([]),
    ord("l"): lambda r: r.push(r.since_mark()),
    ord("a"): _Reader.append_one,
    ord("e"): _Reader.append_all,
    ord(")"): lambda r: r.push(()),
    ord("t"): lambda r: r.push(tuple(r.since_mark())),
    0x85: lambda r: r.make_tuple(1),
    0x86: lambda r: r.make_tuple(2),
    0x87: lambda r: r.make_tuple(3),
    ord("}"): _Reader.new_dict,
    ord("d"): _Reader.make_dict,
    ord("s"): _Reader.set_item,
    ord("u"): lambda r: r.set_items(r.since_mark()),
    ord("p"): lambda r: r.note(r.place()),
    ord("q"): lambda r: r.note(r.number("<B")),
    ord("r"): lambda r: r.note(r.number("<I")),
    0x94: lambda r: r.note(len(r.memo)),  # MEMOIZE
    ord("g"): lambda r: r.recall(r.place()),
    ord("h"): lambda r: r.recall(r.number("<B")),
    ord("j"): lambda r: r.recall(r.number("<I")),
    ord("c"): lambda r: r.mention(r.line().decode("ascii", "replace"), r.line().decode("ascii", "replace")),
    0x93: _Reader.stack_global,
    ord("R"): _Reader.reduce,
    ord("Q"): _Reader.persistent,
    ord("b"): _Reader.build,
}
