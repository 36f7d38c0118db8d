"""A dictionary from text to positive numbers in an `.npy` file, read without running anything that the file says.

`np.save` of a dictionary writes a header and then a pickle: a program for a stack machine, which may import and call what it names.
The machine here has dictionaries, texts and numbers, and recognises by name the frame that NumPy puts around them (an array of no
dimensions that holds the dictionary; numbers of type float64). It looks no name up and calls nothing; all else is refused.

A `pickle.Unpickler` that finds these names alone is no substitute: with it, damaged files of a few hundred bytes crash the
interpreter or keep it busy for ever, and a key that stands twice is lost.
"""

from __future__ import annotations

import enum
import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nas.errors import TableError
from nas.files.shortening import shorten

MAX_BYTES = 4 << 20
"""Largest file that is read; FasterSeg's has about 60 kB."""
MAX_ENTRIES = 20_000
MAX_OPCODES = 400_000
MAX_STACK = 4_096
"""Values on the stack; a pickle fills a dictionary in batches of 1000 entries."""
MAX_TEXT = 1_000
"""Bytes of a text."""
_MAX_TUPLE = 8
_MAX_MARKS = 4

_MAGIC = b"\x93NUMPY"
_HEADER = re.compile(r"\{'descr': '\|O', 'fortran_order': False, 'shape': \(\), \} *\n")
_MAX_HEADER = 1_024


class _Name(enum.Enum):
    """The names that a file may state."""

    RECONSTRUCT = "_reconstruct"
    NDARRAY = "ndarray"
    DTYPE = "dtype"
    SCALAR = "scalar"
    ENCODE = "encode"


_NAMES = {
    **{(f"numpy.{core}.multiarray", one.value): one for core in ("core", "_core") for one in (_Name.RECONSTRUCT, _Name.SCALAR)},
    **{("numpy", one.value): one for one in (_Name.NDARRAY, _Name.DTYPE)},
    ("_codecs", "encode"): _Name.ENCODE,  # how protocol 2 writes bytes
}
"""(module, name) -> what it stands for; `numpy.core` until NumPy 1, `numpy._core` from NumPy 2 on."""


@dataclass(slots=True, eq=False)
class _Type:
    """A type of elements: objects (`O8`) or float64 (`f8`), complete once the order of its bytes is stated."""

    code: str
    order: str | None = None


@dataclass(slots=True, eq=False)
class _Array:
    """The array of no dimensions; its dictionary once it is stated."""

    content: dict[str, float] | None = None


def read_npy_dict(path: Path) -> dict[str, float]:
    """The dictionary in an `.npy` file.

    Raises:
        TableError: One line with the file and its first defect.
    """
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise TableError(f"{path}: got {size} bytes, expected at most {MAX_BYTES} of a dictionary of latencies")
        return parse_npy_dict(path.read_bytes())
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror}); expected an .npy file") from error
    except TableError:
        raise
    except ValueError as error:
        raise TableError(f"{path}: {error}; expected what np.save writes of a dictionary from text to numbers") from error


def parse_npy_dict(content: bytes) -> dict[str, float]:
    """The dictionary that the content of an `.npy` file states.

    Raises:
        ValueError: One line, for the first defect.
    """
    if content[:6] != _MAGIC or len(content) < 12:
        raise ValueError(f"got {shorten(content[:6])} at its start, not that of an .npy file")
    version = (content[6], content[7])
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"got version {version[0]}.{version[1]} of the .npy format, not 1.0 to 3.0")
    start = 10 if version == (1, 0) else 12
    length = int.from_bytes(content[8:start], "little")
    if not 0 < length <= min(_MAX_HEADER, len(content) - start):
        raise ValueError(f"got a header of {length} bytes, not 1 to {_MAX_HEADER} that the file has")
    header = content[start : start + length].decode("latin-1")
    if _HEADER.fullmatch(header) is None:
        raise ValueError(f"got the header {shorten(header.rstrip(), limit=120)}, not that of one Python object")
    return _Machine(content[start + length :]).run()


class _Machine:
    """The stack machine.

    Args:
        data: The pickle.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0
        self._stack: list[object] = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}

    def run(self) -> dict[str, float]:
        """The dictionary that the program states; raises `ValueError`."""
        for _ in range(MAX_OPCODES):
            at = self._position
            opcode = self._take(1)
            if opcode == b".":
                return self._result()
            do = _OPCODES.get(opcode)
            if do is None:
                raise ValueError(f"got the opcode 0x{opcode.hex()} at byte {at} of its pickle")
            do(self)
        raise ValueError(f"got more than {MAX_OPCODES} opcodes in its pickle")

    def _result(self) -> dict[str, float]:
        if self._position != len(self._data):
            raise ValueError(f"got {len(self._data) - self._position} bytes behind its pickle")
        if self._marks or len(self._stack) != 1 or not isinstance(array := self._stack[0], _Array) or array.content is None:
            raise ValueError("got a pickle that does not end with an array that holds a dictionary")
        return array.content

    def _take(self, count: int) -> bytes:
        end = self._position + count
        if end > len(self._data):
            raise ValueError(f"got a pickle that ends at byte {len(self._data)}, in the middle")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def number(self, count: int) -> int:
        """An unsigned number of so many bytes."""
        return int.from_bytes(self._take(count), "little")

    def signed(self, count: int) -> int:
        """A signed number of so many bytes."""
        return int.from_bytes(self._take(count), "little", signed=True)

    def float64(self) -> float:
        """A number with a fraction, its highest byte first."""
        return float(struct.unpack(">d", self._take(8))[0])

    def push(self, value: object) -> None:
        """Put a value on the stack."""
        if len(self._stack) >= MAX_STACK:
            raise ValueError(f"got more than {MAX_STACK} values at once in its pickle")
        self._stack.append(value)

    def pop(self) -> object:
        """Take the last value after the last mark."""
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise ValueError(f"got a pickle that lacks a value at byte {self._position}")
        return self._stack.pop()

    def pop_all(self) -> list[object]:
        """Take all values after the last mark, and the mark."""
        if not self._marks:
            raise ValueError(f"got a pickle that lacks a mark at byte {self._position}")
        mark = self._marks.pop()
        values = self._stack[mark:]
        del self._stack[mark:]
        return values

    def mark(self) -> None:
        """Set a mark."""
        if len(self._marks) >= _MAX_MARKS:
            raise ValueError(f"got more than {_MAX_MARKS} marks at once in its pickle")
        self._marks.append(len(self._stack))

    def raw(self, length_bytes: int) -> bytes:
        """Bytes after their number."""
        length = self.number(length_bytes)
        if length > MAX_TEXT:
            raise ValueError(f"got a text of {length} bytes, more than {MAX_TEXT}")
        return self._take(length)

    def text(self, length_bytes: int) -> str:
        """Text after the number of its bytes."""
        raw = self.raw(length_bytes)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"got {shorten(raw)}, which is no text in UTF-8") from error

    def line(self) -> str:
        """Text up to the end of its line."""
        end = self._data.find(b"\n", self._position, self._position + MAX_TEXT)
        if end < 0:
            raise ValueError(f"got a pickle that lacks the end of a line behind byte {self._position}")
        return self._take(end + 1 - self._position)[:-1].decode("latin-1")

    def skip_frame(self) -> None:
        """The length of a frame, which says where a reader of files may read ahead."""
        self._take(8)

    def check_protocol(self) -> None:
        """The version of the pickle."""
        if not 2 <= (protocol := self.number(1)) <= 5:
            raise ValueError(f"got a pickle of protocol {protocol}, not 2 to 5")

    def push_tuple(self, values: list[object]) -> None:
        """Put a tuple on the stack."""
        if len(values) > _MAX_TUPLE:
            raise ValueError(f"got a tuple of {len(values)} values")
        if any(isinstance(part, tuple) for value in values if isinstance(value, tuple) for part in value):
            raise ValueError("got tuples in tuples in tuples")
        self.push(tuple(values))

    def put(self, index: int) -> None:
        """Remember the last value."""
        value = self.pop()
        self._memo[index] = value
        self.push(value)

    def memoize(self) -> None:
        """Remember the last value under the next number."""
        self.put(len(self._memo))

    def get(self, index: int) -> None:
        """Put a remembered value on the stack."""
        if index not in self._memo:
            raise ValueError(f"got a pickle that recalls value {index}, which it does not have")
        self.push(self._memo[index])

    def push_name(self, module: object, name: object) -> None:
        """A name, which stands for itself and is not looked up."""
        known = _NAMES.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None
        if known is None:
            raise ValueError(f"got the name {shorten(f'{module}.{name}')}, which a dictionary of numbers does not need")
        self.push(known)

    def push_named(self) -> None:
        """A name of which both parts lie on the stack."""
        name, module = self.pop(), self.pop()
        self.push_name(module, name)

    def reduce(self) -> None:
        """Push the result of a call of a known name."""
        arguments, name = self.pop(), self.pop()
        made = _made(name, arguments) if isinstance(name, _Name) and isinstance(arguments, tuple) else None
        if made is None:
            raise ValueError(f"got a call of {shorten(name)} with {shorten(arguments)}")
        self.push(made)

    def build(self) -> None:
        """Complete a type or the array by its state."""
        state, value = self.pop(), self.pop()
        if not isinstance(state, tuple) or not (_complete_type(value, state) or _complete_array(value, state)):
            raise ValueError(f"got the state {shorten(state)} for {shorten(value)}")
        self.push(value)

    def append(self) -> None:
        """The dictionary into the list of the array's elements."""
        value, elements = self.pop(), self.pop()
        if not isinstance(elements, list) or elements or not isinstance(value, dict):
            raise ValueError("got a list of other than one dictionary")
        elements.append(value)
        self.push(elements)

    def set_items(self, pairs: list[object]) -> None:
        """Entries into the dictionary under them."""
        target = self.pop()
        if not isinstance(target, dict) or len(pairs) % 2:
            raise ValueError(f"got {len(pairs)} keys and values for {type(target).__name__}")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, str) or not isinstance(value, float):
                raise ValueError(f"got the entry {shorten(key)}: {shorten(value)}")
            if key in target:
                raise ValueError(f"got {shorten(key)} twice")
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"got {value} for {shorten(key)}, not a finite positive number")
            if len(target) >= MAX_ENTRIES:
                raise ValueError(f"got more than {MAX_ENTRIES} entries")
            target[key] = value
        self.push(target)

    def set_item(self) -> None:
        """One entry."""
        value, key = self.pop(), self.pop()
        self.set_items([key, value])


def _made(name: _Name, arguments: tuple[object, ...]) -> object | None:
    """Result of NumPy for arguments; None if a dictionary of numbers does not need it."""
    if name is _Name.RECONSTRUCT and arguments == (_Name.NDARRAY, (0,), b"b"):
        return _Array()
    if name is _Name.DTYPE and arguments in (("O8", False, True), ("f8", False, True)):
        return _Type(str(arguments[0]))
    if name is _Name.ENCODE and len(arguments) == 2 and isinstance(text := arguments[0], str) and arguments[1] == "latin1":
        return text.encode("latin-1") if all(ord(letter) < 256 for letter in text) else None
    if name is _Name.SCALAR and len(arguments) == 2:
        kind, raw = arguments
        if isinstance(kind, _Type) and kind.code == "f8" and kind.order is not None and isinstance(raw, bytes) and len(raw) == 8:
            return float(struct.unpack(f"{kind.order}d", raw)[0])
    return None


def _complete_type(value: object, state: tuple[object, ...]) -> bool:
    """State a type's order of bytes, if that is what the state does."""
    if not isinstance(value, _Type):
        return False
    orders, flags = ("|", 63) if value.code == "O8" else ("<>", 0)
    order = state[1] if len(state) > 1 else None
    if not isinstance(order, str) or len(order) != 1 or order not in orders or state != (3, order, None, None, None, -1, -1, flags):
        return False
    value.order = order
    return True


def _complete_array(value: object, state: tuple[object, ...]) -> bool:
    """State the array's element, if that is what the state does."""
    if not isinstance(value, _Array) or value.content is not None or len(state) != 5:
        return False
    version, shape, kind, fortran, elements = state
    if (version, shape, fortran) != (1, (), False) or not isinstance(kind, _Type) or (kind.code, kind.order) != ("O8", "|"):
        return False
    if not isinstance(elements, list) or len(elements) != 1:
        return False
    value.content = elements[0]
    return True


_OPCODES: dict[bytes, Callable[[_Machine], None]] = {
    b"\x80": _Machine.check_protocol,
    b"\x95": _Machine.skip_frame,
    b"(": _Machine.mark,
    b"}": lambda machine: machine.push({}),
    b"]": lambda machine: machine.push([]),
    b")": lambda machine: machine.push(()),
    b"N": lambda machine: machine.push(None),
    b"\x88": lambda machine: machine.push(True),
    b"\x89": lambda machine: machine.push(False),
    b"K": lambda machine: machine.push(machine.number(1)),
    b"M": lambda machine: machine.push(machine.number(2)),
    b"J": lambda machine: machine.push(machine.signed(4)),
    b"G": lambda machine: machine.push(machine.float64()),
    b"C": lambda machine: machine.push(machine.raw(1)),
    b"B": lambda machine: machine.push(machine.raw(4)),
    b"\x8c": lambda machine: machine.push(machine.text(1)),
    b"X": lambda machine: machine.push(machine.text(4)),
    b"\x8d": lambda machine: machine.push(machine.text(8)),
    b"\x85": lambda machine: machine.push_tuple([machine.pop()]),
    b"\x86": lambda machine: machine.push_tuple([machine.pop() for _ in range(2)][::-1]),
    b"\x87": lambda machine: machine.push_tuple([machine.pop() for _ in range(3)][::-1]),
    b"t": lambda machine: machine.push_tuple(machine.pop_all()),
    b"\x94": _Machine.memoize,
    b"q": lambda machine: machine.put(machine.number(1)),
    b"r": lambda machine: machine.put(machine.number(4)),
    b"h": lambda machine: machine.get(machine.number(1)),
    b"j": lambda machine: machine.get(machine.number(4)),
    b"c": lambda machine: machine.push_name(machine.line(), machine.line()),
    b"\x93": _Machine.push_named,
    b"R": _Machine.reduce,
    b"b": _Machine.build,
    b"a": _Machine.append,
    b"s": _Machine.set_item,
    b"u": lambda machine: machine.set_items(machine.pop_all()),
}
"""Opcode of a pickle -> what it does here."""
