from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MemoryRequest(_message.Message):
    __slots__ = ("allocate", "release", "filled", "taken", "left")
    ALLOCATE_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    FILLED_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    allocate: Allocate
    release: Release
    filled: Filled
    taken: Taken
    left: Left
    def __init__(self, allocate: _Optional[_Union[Allocate, _Mapping]] = ..., release: _Optional[_Union[Release, _Mapping]] = ..., filled: _Optional[_Union[Filled, _Mapping]] = ..., taken: _Optional[_Union[Taken, _Mapping]] = ..., left: _Optional[_Union[Left, _Mapping]] = ...) -> None: ...

class MemoryResponse(_message.Message):
    __slots__ = ("welcome", "segment", "refused", "fill", "take", "ended")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    FILL_FIELD_NUMBER: _ClassVar[int]
    TAKE_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    segment: Segment
    refused: Refused
    fill: Fill
    take: Take
    ended: Ended
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., segment: _Optional[_Union[Segment, _Mapping]] = ..., refused: _Optional[_Union[Refused, _Mapping]] = ..., fill: _Optional[_Union[Fill, _Mapping]] = ..., take: _Optional[_Union[Take, _Mapping]] = ..., ended: _Optional[_Union[Ended, _Mapping]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("session", "segment", "nbytes")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    session: bytes
    segment: int
    nbytes: int
    def __init__(self, session: _Optional[bytes] = ..., segment: _Optional[int] = ..., nbytes: _Optional[int] = ...) -> None: ...

class Allocate(_message.Message):
    __slots__ = ("request", "nbytes")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    request: int
    nbytes: int
    def __init__(self, request: _Optional[int] = ..., nbytes: _Optional[int] = ...) -> None: ...

class Segment(_message.Message):
    __slots__ = ("request", "segment", "nbytes")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    request: int
    segment: int
    nbytes: int
    def __init__(self, request: _Optional[int] = ..., segment: _Optional[int] = ..., nbytes: _Optional[int] = ...) -> None: ...

class Refused(_message.Message):
    __slots__ = ("request", "reason", "message")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    request: int
    reason: str
    message: str
    def __init__(self, request: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Release(_message.Message):
    __slots__ = ("segment",)
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    segment: int
    def __init__(self, segment: _Optional[int] = ...) -> None: ...

class Fill(_message.Message):
    __slots__ = ("job", "want", "index", "offset", "length", "order", "address")
    JOB_FIELD_NUMBER: _ClassVar[int]
    WANT_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    job: int
    want: int
    index: int
    offset: int
    length: int
    order: _containers.RepeatedScalarFieldContainer[int]
    address: int
    def __init__(self, job: _Optional[int] = ..., want: _Optional[int] = ..., index: _Optional[int] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ..., order: _Optional[_Iterable[int]] = ..., address: _Optional[int] = ...) -> None: ...

class Filled(_message.Message):
    __slots__ = ("job", "want")
    JOB_FIELD_NUMBER: _ClassVar[int]
    WANT_FIELD_NUMBER: _ClassVar[int]
    job: int
    want: int
    def __init__(self, job: _Optional[int] = ..., want: _Optional[int] = ...) -> None: ...

class Take(_message.Message):
    __slots__ = ("job", "range", "outputs", "offset", "length", "address")
    JOB_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    job: int
    range: int
    outputs: _containers.RepeatedScalarFieldContainer[int]
    offset: int
    length: int
    address: int
    def __init__(self, job: _Optional[int] = ..., range: _Optional[int] = ..., outputs: _Optional[_Iterable[int]] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ..., address: _Optional[int] = ...) -> None: ...

class Taken(_message.Message):
    __slots__ = ("job", "range")
    JOB_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    job: int
    range: int
    def __init__(self, job: _Optional[int] = ..., range: _Optional[int] = ...) -> None: ...

class Ended(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: int
    def __init__(self, job: _Optional[int] = ...) -> None: ...

class Left(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: int
    def __init__(self, job: _Optional[int] = ...) -> None: ...
