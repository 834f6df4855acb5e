"""Pickles that hold nothing but plain data, read without executing them.

A pickle is a program, and `pickle.load` runs it: a file of annotations could run anything. Here the stream is taken
apart with the stdlib's own tables (`pickletools`, which executes nothing) and only the opcodes that make plain values
are known: None, bool, int, float, str, bytes, list, tuple and dict. Whatever names a class, calls, or looks outside
the file is refused by name. All protocols 0 to 5; the `str` of Python 2 becomes text (UTF-8, else Latin-1).

A value may stand in several places, but never inside itself, and what all places together hold is bounded: a few
bytes of nested references otherwise unfold to billions of values for whoever walks the result.
"""

import codecs
import io
import pickletools
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

MAX_BYTES = 2**28
MAX_VALUES = 20_000_000
MAX_DEPTH = 64
STEPS = 4
"""Opcodes a value may take on average: one makes it, others remember, group and place it. Each costs memory."""
KEYS = frozenset({str, int, float, bool, type(None), bytes})
"""Types of dict keys. No tuples: hashing a nested one recurses in C, and takes for ever where it is shared."""


def read_plain_pickle(path: Path) -> Any:
    """The value in a pickle file.

    Raises:
        ValueError: the file is missing or over MAX_BYTES, or as `parse_plain_pickle` says.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist or is no file; expected a pickle of plain data")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{path} has {size} bytes; at most {MAX_BYTES} are read")
    try:
        return parse_plain_pickle(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def parse_plain_pickle(
    data: bytes, *, max_values: int = MAX_VALUES, max_depth: int = MAX_DEPTH
) -> Any:
    """The value that `data` describes, from plain types alone; nothing in it is executed.

    `max_values` bounds the values of the result, counted once for every place where they stand (and so what the
    program may do on the way), `max_depth` how deep containers nest.

    Raises:
        ValueError: an opcode that does not make plain data, damage, a value inside itself, or too much of it.
    """
    stream = io.BytesIO(data)
    machine = _Machine()
    for step in count():
        at = stream.tell()
        code = stream.read(1)
        name, read, act = _OPCODES.get(code, ("", None, None))
        if not code:
            raise ValueError(f"pickle of {len(data)} bytes is cut: it ends without STOP")
        if not name:
            raise ValueError(f"byte {at}: {code!r} is no pickle opcode; the file is no pickle")
        if step > STEPS * max_values:
            raise ValueError(f"the pickle has more than {STEPS * max_values} opcodes")
        try:
            said = read(stream) if read else None
            if act is None:
                if name == "STACK_GLOBAL":
                    said = " ".join(str(value) for value in machine.stack[-2:])
                raise ValueError(f"{name}{_quote(said)} is not plain data; nothing was executed")
            if act is _stop:
                break
            act(machine, said)
        except (ValueError, IndexError, KeyError, OverflowError, MemoryError) as error:
            raise ValueError(f"byte {at} of the pickle, {name}: {error}") from error
    if len(machine.stack) != 1 or machine.marks:
        raise ValueError(f"the pickle ends with {len(machine.stack)} values; expected one")
    if rest := len(data) - stream.tell():
        raise ValueError(f"{rest} bytes follow the end of the pickle; expected one value a file")
    _check_extent(machine.stack[0], max_values, max_depth)
    return machine.stack[0]


class _Machine:
    """What a pickle's program works on: the stack, where groups begin on it, and the values it remembered."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise ValueError("takes a value where there is none")
        return self.stack.pop()

    def group(self) -> list[Any]:
        """The values since the last mark, taken off the stack."""
        if not self.marks:
            raise ValueError("closes a group that was never opened")
        begin = self.marks.pop()
        taken = self.stack[begin:]
        del self.stack[begin:]
        return taken

    def top(self, kind: type) -> Any:
        """The value on top of the stack, a container of `kind`."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise ValueError(f"fills a {kind.__name__} where there is none")
        if type(self.stack[-1]) is not kind:
            raise ValueError(f"fills a {type(self.stack[-1]).__name__}; expected a {kind.__name__}")
        return self.stack[-1]


Action = Callable[[_Machine, Any], None]


def _push(m: _Machine, said: Any) -> None:
    m.stack.append(said)


def _push_python2(m: _Machine, said: str) -> None:
    m.stack.append(_text(said.encode("latin-1")))


def _push_quoted(m: _Machine, said: bytes) -> None:
    m.stack.append(_text(codecs.escape_decode(said)[0]))  # type: ignore[attr-defined]


def _mark(m: _Machine, _: Any) -> None:
    m.marks.append(len(m.stack))


def _nothing(_: _Machine, __: Any) -> None:
    """Frames say how much to read ahead; the stream here is in memory."""


def _protocol(_: _Machine, said: int) -> None:
    if said > 5:
        raise ValueError(f"protocol {said}; expected 0 to 5")


def _stop(_: _Machine, __: Any) -> None:
    """The end; `parse_plain_pickle` looks for this."""


def _list(m: _Machine, _: Any) -> None:
    m.stack.append(m.group())


def _append(m: _Machine, _: Any) -> None:
    value = m.pop()
    m.top(list).append(value)


def _appends(m: _Machine, _: Any) -> None:
    values = m.group()
    m.top(list).extend(values)


def _tuple(m: _Machine, _: Any) -> None:
    m.stack.append(tuple(m.group()))


def _tuple_of(length: int) -> Action:
    def act(m: _Machine, _: Any) -> None:
        values = [m.pop() for _ in range(length)]
        m.stack.append(tuple(reversed(values)))

    return act


def _dict(m: _Machine, _: Any) -> None:
    made: dict[Any, Any] = {}
    _fill(made, m.group())
    m.stack.append(made)


def _set_item(m: _Machine, _: Any) -> None:
    value, key = m.pop(), m.pop()
    _fill(m.top(dict), [key, value])


def _set_items(m: _Machine, _: Any) -> None:
    pairs = m.group()
    _fill(m.top(dict), pairs)


def _fill(made: dict[Any, Any], pairs: list[Any]) -> None:
    if len(pairs) % 2:
        raise ValueError("a key has no value")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if type(key) not in KEYS:
            raise ValueError(f"a {type(key).__name__} is a key; expected text, a number or None")
        made[key] = value


def _put(m: _Machine, said: int) -> None:
    if not m.stack:
        raise ValueError("remembers a value where there is none")
    m.memo[said] = m.stack[-1]


def _memoize(m: _Machine, _: Any) -> None:
    _put(m, len(m.memo))


def _get(m: _Machine, said: int) -> None:
    if said not in m.memo:
        raise ValueError(f"recalls value {said}, which was never remembered")
    m.stack.append(m.memo[said])


def _quoted(stream: io.BytesIO) -> bytes:
    """Protocol 0's text in quotes; pickletools would take only ASCII for its content."""
    return pickletools.read_stringnl(stream, decode=False, stripquotes=True)  # type: ignore[attr-defined]


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _quote(said: Any) -> str:
    return "" if said is None else f" {str(said)[:120]!r}"


def _constant(value: Any) -> Action:
    def act(m: _Machine, _: Any) -> None:
        m.stack.append(value)

    return act


def _new(kind: type) -> Action:
    def act(m: _Machine, _: Any) -> None:
        m.stack.append(kind())

    return act


_ACTIONS: dict[str, Action] = {
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"), _push),
    **dict.fromkeys(("FLOAT", "BINFLOAT", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"), _push),
    **dict.fromkeys(("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), _push),
    **dict.fromkeys(("BINSTRING", "SHORT_BINSTRING"), _push_python2),
    "STRING": _push_quoted,
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "EMPTY_LIST": _new(list),
    "EMPTY_DICT": _new(dict),
    "EMPTY_TUPLE": _constant(()),
    "LIST": _list,
    "APPEND": _append,
    "APPENDS": _appends,
    "TUPLE": _tuple,
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "DICT": _dict,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    "MEMOIZE": _memoize,
    "MARK": _mark,
    "PROTO": _protocol,
    "FRAME": _nothing,
    "STOP": _stop,
}
"""What is done for each opcode that makes plain data. All others (GLOBAL, REDUCE, BUILD, ...) are not there."""

_OPCODES: dict[bytes, tuple[str, Callable[[io.BytesIO], Any] | None, Action | None]] = {
    info.code.encode("latin-1"): (
        info.name,
        _quoted if info.name == "STRING" else info.arg.reader if info.arg else None,
        _ACTIONS.get(info.name),
    )
    for info in pickletools.opcodes
}


def _check_extent(value: Any, max_values: int, max_depth: int) -> None:
    """Refuse a value inside itself, containers nested too deeply, and more than `max_values` values.

    Walks every container once, children before parents, without recursion.
    """
    extent: dict[int, tuple[int, int]] = {}  # id -> values in all places, depth
    opened: set[int] = set()
    todo: list[tuple[Any, bool]] = [(value, False)]
    while todo:
        item, is_done = todo.pop()
        inner = item.values() if type(item) is dict else item
        if type(item) not in (dict, list, tuple) or (id(item) in extent and not is_done):
            continue
        if not is_done:
            if id(item) in opened:
                raise ValueError(f"a {type(item).__name__} of the pickle stands inside itself")
            opened.add(id(item))
            todo.append((item, True))
            todo.extend((child, False) for child in inner if type(child) in (dict, list, tuple))
            continue
        within = [extent[id(child)] for child in inner if id(child) in extent]
        values = 1 + len(item) - len(within) + sum(size for size, _ in within)
        depth = 1 + max((depth for _, depth in within), default=0)
        if values > max_values:
            raise ValueError(f"the pickle unfolds to more than {max_values} values")
        if depth > max_depth:
            raise ValueError(f"the pickle nests more than {max_depth} containers deep")
        opened.discard(id(item))
        extent[id(item)] = (values, depth)
