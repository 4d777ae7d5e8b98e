"""JSON in Arrow: the values of a column whose rows have different types, as ``datasets`` stores them.

A value is kept as the source text of its JSON, so a text has quotes and escapes around it there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

Decoder = Callable[[Any], Any]


def json_decoder(kind: pyarrow.DataType) -> Decoder | None:
    """What turns a value of this type, as ``to_pylist`` gives it, into the value that was stored; None: nothing to do.

    Numbers, true and false stay as they are written. It raises ValueError for what is not JSON.
    """
    import pyarrow

    if isinstance(kind, pyarrow.JsonType):
        return _decoded
    if pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind) or pyarrow.types.is_fixed_size_list(kind):
        element = json_decoder(kind.value_type)
        return element and (lambda values: None if values is None else [element(value) for value in values])
    if pyarrow.types.is_struct(kind):
        fields = {field.name: read for field in kind if (read := json_decoder(field.type))}
        return (lambda value: _with_fields(value, fields)) if fields else None
    return None


def _decoded(text: str | None) -> Any:
    if text is None:
        return None
    value = json.loads(text)
    return value if value is None or isinstance(value, str | list | dict) else text


def _with_fields(value: dict[str, Any] | None, fields: dict[str, Decoder]) -> dict[str, Any] | None:
    if value is None:
        return None
    return {name: fields[name](part) if name in fields else part for name, part in value.items()}
