from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DTYPE_UNSPECIFIED: _ClassVar[DType]
    BOOL: _ClassVar[DType]
    INT8: _ClassVar[DType]
    INT16: _ClassVar[DType]
    INT32: _ClassVar[DType]
    INT64: _ClassVar[DType]
    UINT8: _ClassVar[DType]
    UINT16: _ClassVar[DType]
    UINT32: _ClassVar[DType]
    UINT64: _ClassVar[DType]
    FLOAT16: _ClassVar[DType]
    FLOAT32: _ClassVar[DType]
    FLOAT64: _ClassVar[DType]
    COMPLEX64: _ClassVar[DType]
    COMPLEX128: _ClassVar[DType]

class ByteOrder(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LITTLE_ENDIAN: _ClassVar[ByteOrder]
    BIG_ENDIAN: _ClassVar[ByteOrder]

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_QUEUED: _ClassVar[JobState]
    JOB_RUNNING: _ClassVar[JobState]
    JOB_STOPPING: _ClassVar[JobState]
    JOB_SUCCEEDED: _ClassVar[JobState]
    JOB_FAILED: _ClassVar[JobState]
    JOB_CANCELLED: _ClassVar[JobState]
    JOB_EXPIRED: _ClassVar[JobState]
DTYPE_UNSPECIFIED: DType
BOOL: DType
INT8: DType
INT16: DType
INT32: DType
INT64: DType
UINT8: DType
UINT16: DType
UINT32: DType
UINT64: DType
FLOAT16: DType
FLOAT32: DType
FLOAT64: DType
COMPLEX64: DType
COMPLEX128: DType
LITTLE_ENDIAN: ByteOrder
BIG_ENDIAN: ByteOrder
JOB_STATE_UNSPECIFIED: JobState
JOB_QUEUED: JobState
JOB_RUNNING: JobState
JOB_STOPPING: JobState
JOB_SUCCEEDED: JobState
JOB_FAILED: JobState
JOB_CANCELLED: JobState
JOB_EXPIRED: JobState

class ArrayType(_message.Message):
    __slots__ = ("dtype", "shape")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    dtype: DType
    shape: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, dtype: _Optional[_Union[DType, str]] = ..., shape: _Optional[_Iterable[int]] = ...) -> None: ...

class Graph(_message.Message):
    __slots__ = ("nodes", "outputs")
    NODES_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    outputs: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., outputs: _Optional[_Iterable[int]] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("input", "resident", "constant", "operation")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_FIELD_NUMBER: _ClassVar[int]
    CONSTANT_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    input: Input
    resident: Resident
    constant: Constant
    operation: Operation
    def __init__(self, input: _Optional[_Union[Input, _Mapping]] = ..., resident: _Optional[_Union[Resident, _Mapping]] = ..., constant: _Optional[_Union[Constant, _Mapping]] = ..., operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class Input(_message.Message):
    __slots__ = ("dtype", "byte_order", "shape", "order", "inline", "fingerprint")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    BYTE_ORDER_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    INLINE_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    dtype: DType
    byte_order: ByteOrder
    shape: _containers.RepeatedScalarFieldContainer[int]
    order: _containers.RepeatedScalarFieldContainer[int]
    inline: bytes
    fingerprint: int
    def __init__(self, dtype: _Optional[_Union[DType, str]] = ..., byte_order: _Optional[_Union[ByteOrder, str]] = ..., shape: _Optional[_Iterable[int]] = ..., order: _Optional[_Iterable[int]] = ..., inline: _Optional[bytes] = ..., fingerprint: _Optional[int] = ...) -> None: ...

class Resident(_message.Message):
    __slots__ = ("id", "slices")
    ID_FIELD_NUMBER: _ClassVar[int]
    SLICES_FIELD_NUMBER: _ClassVar[int]
    id: str
    slices: _containers.RepeatedCompositeFieldContainer[Slice]
    def __init__(self, id: _Optional[str] = ..., slices: _Optional[_Iterable[_Union[Slice, _Mapping]]] = ...) -> None: ...

class Slice(_message.Message):
    __slots__ = ("start", "step", "length", "drop")
    START_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    DROP_FIELD_NUMBER: _ClassVar[int]
    start: int
    step: int
    length: int
    drop: bool
    def __init__(self, start: _Optional[int] = ..., step: _Optional[int] = ..., length: _Optional[int] = ..., drop: bool = ...) -> None: ...

class Complex(_message.Message):
    __slots__ = ("real", "imag")
    REAL_FIELD_NUMBER: _ClassVar[int]
    IMAG_FIELD_NUMBER: _ClassVar[int]
    real: float
    imag: float
    def __init__(self, real: _Optional[float] = ..., imag: _Optional[float] = ...) -> None: ...

class Scalar(_message.Message):
    __slots__ = ("dtype", "data")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    dtype: DType
    data: bytes
    def __init__(self, dtype: _Optional[_Union[DType, str]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Constant(_message.Message):
    __slots__ = ("python_bool", "python_int", "python_big_int", "python_float", "python_complex", "scalar")
    PYTHON_BOOL_FIELD_NUMBER: _ClassVar[int]
    PYTHON_INT_FIELD_NUMBER: _ClassVar[int]
    PYTHON_BIG_INT_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FLOAT_FIELD_NUMBER: _ClassVar[int]
    PYTHON_COMPLEX_FIELD_NUMBER: _ClassVar[int]
    SCALAR_FIELD_NUMBER: _ClassVar[int]
    python_bool: bool
    python_int: int
    python_big_int: str
    python_float: float
    python_complex: Complex
    scalar: Scalar
    def __init__(self, python_bool: bool = ..., python_int: _Optional[int] = ..., python_big_int: _Optional[str] = ..., python_float: _Optional[float] = ..., python_complex: _Optional[_Union[Complex, _Mapping]] = ..., scalar: _Optional[_Union[Scalar, _Mapping]] = ...) -> None: ...

class Operation(_message.Message):
    __slots__ = ("name", "args", "params")
    class ParamsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Param
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Param, _Mapping]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    name: str
    args: _containers.RepeatedScalarFieldContainer[int]
    params: _containers.MessageMap[str, Param]
    def __init__(self, name: _Optional[str] = ..., args: _Optional[_Iterable[int]] = ..., params: _Optional[_Mapping[str, Param]] = ...) -> None: ...

class Axes(_message.Message):
    __slots__ = ("axis",)
    AXIS_FIELD_NUMBER: _ClassVar[int]
    axis: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, axis: _Optional[_Iterable[int]] = ...) -> None: ...

class Param(_message.Message):
    __slots__ = ("bool_value", "int_value", "float_value", "string_value", "axes", "dtype", "node")
    BOOL_VALUE_FIELD_NUMBER: _ClassVar[int]
    INT_VALUE_FIELD_NUMBER: _ClassVar[int]
    FLOAT_VALUE_FIELD_NUMBER: _ClassVar[int]
    STRING_VALUE_FIELD_NUMBER: _ClassVar[int]
    AXES_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    bool_value: bool
    int_value: int
    float_value: float
    string_value: str
    axes: Axes
    dtype: DType
    node: int
    def __init__(self, bool_value: bool = ..., int_value: _Optional[int] = ..., float_value: _Optional[float] = ..., string_value: _Optional[str] = ..., axes: _Optional[_Union[Axes, _Mapping]] = ..., dtype: _Optional[_Union[DType, str]] = ..., node: _Optional[int] = ...) -> None: ...

class ComputeRequest(_message.Message):
    __slots__ = ("graph", "memory")
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    graph: Graph
    memory: SharedMemory
    def __init__(self, graph: _Optional[_Union[Graph, _Mapping]] = ..., memory: _Optional[_Union[SharedMemory, _Mapping]] = ...) -> None: ...

class ComputeResponse(_message.Message):
    __slots__ = ("results", "times", "memory_outputs", "needs_run")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    NEEDS_RUN_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[InlineArray]
    times: JobTimes
    memory_outputs: bool
    needs_run: bool
    def __init__(self, results: _Optional[_Iterable[_Union[InlineArray, _Mapping]]] = ..., times: _Optional[_Union[JobTimes, _Mapping]] = ..., memory_outputs: bool = ..., needs_run: bool = ...) -> None: ...

class InlineArray(_message.Message):
    __slots__ = ("type", "data", "order")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    type: ArrayType
    data: bytes
    order: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, type: _Optional[_Union[ArrayType, _Mapping]] = ..., data: _Optional[bytes] = ..., order: _Optional[_Iterable[int]] = ...) -> None: ...

class PipelineRequest(_message.Message):
    __slots__ = ("jobs", "cancelled")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[PipelinedJob]
    cancelled: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, jobs: _Optional[_Iterable[_Union[PipelinedJob, _Mapping]]] = ..., cancelled: _Optional[_Iterable[int]] = ...) -> None: ...

class PipelinedJob(_message.Message):
    __slots__ = ("number", "request", "timeout_seconds")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    number: int
    request: ComputeRequest
    timeout_seconds: float
    def __init__(self, number: _Optional[int] = ..., request: _Optional[_Union[ComputeRequest, _Mapping]] = ..., timeout_seconds: _Optional[float] = ...) -> None: ...

class PipelineResponse(_message.Message):
    __slots__ = ("answers", "begun")
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    BEGUN_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[PipelinedAnswer]
    begun: int
    def __init__(self, answers: _Optional[_Iterable[_Union[PipelinedAnswer, _Mapping]]] = ..., begun: _Optional[int] = ...) -> None: ...

class PipelinedAnswer(_message.Message):
    __slots__ = ("number", "response", "status")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    number: int
    response: ComputeResponse
    status: bytes
    def __init__(self, number: _Optional[int] = ..., response: _Optional[_Union[ComputeResponse, _Mapping]] = ..., status: _Optional[bytes] = ...) -> None: ...

class RunRequest(_message.Message):
    __slots__ = ("start", "frame", "attach")
    START_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    ATTACH_FIELD_NUMBER: _ClassVar[int]
    start: Start
    frame: Frame
    attach: Attach
    def __init__(self, start: _Optional[_Union[Start, _Mapping]] = ..., frame: _Optional[_Union[Frame, _Mapping]] = ..., attach: _Optional[_Union[Attach, _Mapping]] = ...) -> None: ...

class Attach(_message.Message):
    __slots__ = ("job_id", "bulk")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    BULK_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    bulk: bool
    def __init__(self, job_id: _Optional[str] = ..., bulk: bool = ...) -> None: ...

class Start(_message.Message):
    __slots__ = ("graph", "keep", "bulk", "memory")
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    BULK_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    graph: Graph
    keep: Keep
    bulk: bool
    memory: SharedMemory
    def __init__(self, graph: _Optional[_Union[Graph, _Mapping]] = ..., keep: _Optional[_Union[Keep, _Mapping]] = ..., bulk: bool = ..., memory: _Optional[_Union[SharedMemory, _Mapping]] = ...) -> None: ...

class SharedMemory(_message.Message):
    __slots__ = ("session", "inputs", "outputs", "job")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    session: bytes
    inputs: _containers.RepeatedCompositeFieldContainer[Placed]
    outputs: _containers.RepeatedCompositeFieldContainer[Placed]
    job: int
    def __init__(self, session: _Optional[bytes] = ..., inputs: _Optional[_Iterable[_Union[Placed, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[Placed, _Mapping]]] = ..., job: _Optional[int] = ...) -> None: ...

class Placed(_message.Message):
    __slots__ = ("index", "segment", "offset", "strides")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    STRIDES_FIELD_NUMBER: _ClassVar[int]
    index: int
    segment: int
    offset: int
    strides: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, index: _Optional[int] = ..., segment: _Optional[int] = ..., offset: _Optional[int] = ..., strides: _Optional[_Iterable[int]] = ...) -> None: ...

class Keep(_message.Message):
    __slots__ = ("name", "ttl_seconds")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    ttl_seconds: float
    def __init__(self, name: _Optional[str] = ..., ttl_seconds: _Optional[float] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("want", "index", "offset", "data", "checksum")
    WANT_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    want: int
    index: int
    offset: int
    data: bytes
    checksum: int
    def __init__(self, want: _Optional[int] = ..., index: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ..., checksum: _Optional[int] = ...) -> None: ...

class RunResponse(_message.Message):
    __slots__ = ("accepted", "want", "header", "frame", "progress", "done", "bulk_ended")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    WANT_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    BULK_ENDED_FIELD_NUMBER: _ClassVar[int]
    accepted: Accepted
    want: Want
    header: ResultHeader
    frame: Frame
    progress: Progress
    done: Done
    bulk_ended: BulkEnded
    def __init__(self, accepted: _Optional[_Union[Accepted, _Mapping]] = ..., want: _Optional[_Union[Want, _Mapping]] = ..., header: _Optional[_Union[ResultHeader, _Mapping]] = ..., frame: _Optional[_Union[Frame, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., done: _Optional[_Union[Done, _Mapping]] = ..., bulk_ended: _Optional[_Union[BulkEnded, _Mapping]] = ...) -> None: ...

class Accepted(_message.Message):
    __slots__ = ("job_id", "reserved_bytes", "blocks", "bulk", "memory_job", "memory_outputs")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    RESERVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    BULK_FIELD_NUMBER: _ClassVar[int]
    MEMORY_JOB_FIELD_NUMBER: _ClassVar[int]
    MEMORY_OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    reserved_bytes: int
    blocks: int
    bulk: Bulk
    memory_job: int
    memory_outputs: bool
    def __init__(self, job_id: _Optional[str] = ..., reserved_bytes: _Optional[int] = ..., blocks: _Optional[int] = ..., bulk: _Optional[_Union[Bulk, _Mapping]] = ..., memory_job: _Optional[int] = ..., memory_outputs: bool = ...) -> None: ...

class Bulk(_message.Message):
    __slots__ = ("port", "secret")
    PORT_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    port: int
    secret: bytes
    def __init__(self, port: _Optional[int] = ..., secret: _Optional[bytes] = ...) -> None: ...

class Want(_message.Message):
    __slots__ = ("want", "index", "offset", "length", "order")
    WANT_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    want: int
    index: int
    offset: int
    length: int
    order: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, want: _Optional[int] = ..., index: _Optional[int] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ..., order: _Optional[_Iterable[int]] = ...) -> None: ...

class ResultHeader(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[Result]
    def __init__(self, results: _Optional[_Iterable[_Union[Result, _Mapping]]] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("type", "order")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    type: ArrayType
    order: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, type: _Optional[_Union[ArrayType, _Mapping]] = ..., order: _Optional[_Iterable[int]] = ...) -> None: ...

class BulkEnded(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Progress(_message.Message):
    __slots__ = ("received_bytes", "blocks_done", "blocks")
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_DONE_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    received_bytes: int
    blocks_done: int
    blocks: int
    def __init__(self, received_bytes: _Optional[int] = ..., blocks_done: _Optional[int] = ..., blocks: _Optional[int] = ...) -> None: ...

class Done(_message.Message):
    __slots__ = ("times", "array")
    TIMES_FIELD_NUMBER: _ClassVar[int]
    ARRAY_FIELD_NUMBER: _ClassVar[int]
    times: JobTimes
    array: ArrayInfo
    def __init__(self, times: _Optional[_Union[JobTimes, _Mapping]] = ..., array: _Optional[_Union[ArrayInfo, _Mapping]] = ...) -> None: ...

class JobTimes(_message.Message):
    __slots__ = ("total", "queued", "received", "computed", "merged", "sent", "received_bytes", "sent_bytes", "blocks", "passes")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    COMPUTED_FIELD_NUMBER: _ClassVar[int]
    MERGED_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    SENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    PASSES_FIELD_NUMBER: _ClassVar[int]
    total: float
    queued: float
    received: float
    computed: float
    merged: float
    sent: float
    received_bytes: int
    sent_bytes: int
    blocks: int
    passes: int
    def __init__(self, total: _Optional[float] = ..., queued: _Optional[float] = ..., received: _Optional[float] = ..., computed: _Optional[float] = ..., merged: _Optional[float] = ..., sent: _Optional[float] = ..., received_bytes: _Optional[int] = ..., sent_bytes: _Optional[int] = ..., blocks: _Optional[int] = ..., passes: _Optional[int] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("id", "key", "state", "priority", "age_seconds", "deadline_in_seconds", "position", "input_bytes", "received_bytes", "blocks_done", "blocks", "results", "error", "times", "needed_bytes", "free_bytes", "deadline_seconds", "ttl_seconds", "result_count")
    ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_IN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    INPUT_BYTES_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_DONE_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    NEEDED_BYTES_FIELD_NUMBER: _ClassVar[int]
    FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RESULT_COUNT_FIELD_NUMBER: _ClassVar[int]
    id: str
    key: str
    state: JobState
    priority: int
    age_seconds: float
    deadline_in_seconds: float
    position: int
    input_bytes: int
    received_bytes: int
    blocks_done: int
    blocks: int
    results: _containers.RepeatedCompositeFieldContainer[ArrayInfo]
    error: JobError
    times: JobTimes
    needed_bytes: int
    free_bytes: int
    deadline_seconds: float
    ttl_seconds: float
    result_count: int
    def __init__(self, id: _Optional[str] = ..., key: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., priority: _Optional[int] = ..., age_seconds: _Optional[float] = ..., deadline_in_seconds: _Optional[float] = ..., position: _Optional[int] = ..., input_bytes: _Optional[int] = ..., received_bytes: _Optional[int] = ..., blocks_done: _Optional[int] = ..., blocks: _Optional[int] = ..., results: _Optional[_Iterable[_Union[ArrayInfo, _Mapping]]] = ..., error: _Optional[_Union[JobError, _Mapping]] = ..., times: _Optional[_Union[JobTimes, _Mapping]] = ..., needed_bytes: _Optional[int] = ..., free_bytes: _Optional[int] = ..., deadline_seconds: _Optional[float] = ..., ttl_seconds: _Optional[float] = ..., result_count: _Optional[int] = ...) -> None: ...

class JobError(_message.Message):
    __slots__ = ("reason", "message", "details")
    class DetailsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    details: _containers.ScalarMap[str, str]
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., details: _Optional[_Mapping[str, str]] = ...) -> None: ...

class SubmitJobRequest(_message.Message):
    __slots__ = ("graph", "key", "priority", "deadline_seconds", "ttl_seconds")
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    graph: Graph
    key: str
    priority: int
    deadline_seconds: float
    ttl_seconds: float
    def __init__(self, graph: _Optional[_Union[Graph, _Mapping]] = ..., key: _Optional[str] = ..., priority: _Optional[int] = ..., deadline_seconds: _Optional[float] = ..., ttl_seconds: _Optional[float] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("id", "wait_seconds")
    ID_FIELD_NUMBER: _ClassVar[int]
    WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    id: str
    wait_seconds: float
    def __init__(self, id: _Optional[str] = ..., wait_seconds: _Optional[float] = ...) -> None: ...

class WatchJobRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "open_only")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    OPEN_ONLY_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    open_only: bool
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., open_only: bool = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class DeleteJobRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class DeleteJobResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ArrayInfo(_message.Message):
    __slots__ = ("id", "name", "type", "bytes", "ttl_seconds", "expires_in_seconds", "age_seconds")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    type: ArrayType
    bytes: int
    ttl_seconds: float
    expires_in_seconds: float
    age_seconds: float
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., type: _Optional[_Union[ArrayType, _Mapping]] = ..., bytes: _Optional[int] = ..., ttl_seconds: _Optional[float] = ..., expires_in_seconds: _Optional[float] = ..., age_seconds: _Optional[float] = ...) -> None: ...

class ListArraysRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListArraysResponse(_message.Message):
    __slots__ = ("arrays", "next_page_token", "used_bytes", "budget_bytes")
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    BUDGET_BYTES_FIELD_NUMBER: _ClassVar[int]
    arrays: _containers.RepeatedCompositeFieldContainer[ArrayInfo]
    next_page_token: str
    used_bytes: int
    budget_bytes: int
    def __init__(self, arrays: _Optional[_Iterable[_Union[ArrayInfo, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., used_bytes: _Optional[int] = ..., budget_bytes: _Optional[int] = ...) -> None: ...

class DescribeArrayRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class DeleteArrayRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class DeleteArrayResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ServerInfo(_message.Message):
    __slots__ = ("version", "protocol", "oldest_protocol", "workers", "arena_bytes", "arena_free_bytes", "frame_bytes", "message_bytes", "unary_bytes", "max_nodes", "max_dimensions", "operations", "running_jobs", "waiting_jobs", "uptime_seconds", "numpy_version", "bulk_port", "max_wait_seconds", "resident_bytes", "resident_budget_bytes", "worker_endings", "recycled_workers", "fenced_workers", "connections", "job_calls", "max_job_calls", "waiting_calls", "feeding_calls", "refused_calls", "pipelines", "memory_paths", "shared_bytes", "shared_budget_bytes", "busy_workers", "arena_largest_free_bytes", "arena_reserved_bytes", "ended_jobs", "received_bytes", "sent_bytes", "refusals", "loop_lag_seconds")
    class WorkerEndingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class EndedJobsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class ReceivedBytesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class SentBytesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class RefusalsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    OLDEST_PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    ARENA_BYTES_FIELD_NUMBER: _ClassVar[int]
    ARENA_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    UNARY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_NODES_FIELD_NUMBER: _ClassVar[int]
    MAX_DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_JOBS_FIELD_NUMBER: _ClassVar[int]
    WAITING_JOBS_FIELD_NUMBER: _ClassVar[int]
    UPTIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    NUMPY_VERSION_FIELD_NUMBER: _ClassVar[int]
    BULK_PORT_FIELD_NUMBER: _ClassVar[int]
    MAX_WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BUDGET_BYTES_FIELD_NUMBER: _ClassVar[int]
    WORKER_ENDINGS_FIELD_NUMBER: _ClassVar[int]
    RECYCLED_WORKERS_FIELD_NUMBER: _ClassVar[int]
    FENCED_WORKERS_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    JOB_CALLS_FIELD_NUMBER: _ClassVar[int]
    MAX_JOB_CALLS_FIELD_NUMBER: _ClassVar[int]
    WAITING_CALLS_FIELD_NUMBER: _ClassVar[int]
    FEEDING_CALLS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_CALLS_FIELD_NUMBER: _ClassVar[int]
    PIPELINES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PATHS_FIELD_NUMBER: _ClassVar[int]
    SHARED_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHARED_BUDGET_BYTES_FIELD_NUMBER: _ClassVar[int]
    BUSY_WORKERS_FIELD_NUMBER: _ClassVar[int]
    ARENA_LARGEST_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    ARENA_RESERVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    ENDED_JOBS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    SENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    LOOP_LAG_SECONDS_FIELD_NUMBER: _ClassVar[int]
    version: str
    protocol: int
    oldest_protocol: int
    workers: int
    arena_bytes: int
    arena_free_bytes: int
    frame_bytes: int
    message_bytes: int
    unary_bytes: int
    max_nodes: int
    max_dimensions: int
    operations: _containers.RepeatedCompositeFieldContainer[OperationInfo]
    running_jobs: int
    waiting_jobs: int
    uptime_seconds: float
    numpy_version: str
    bulk_port: int
    max_wait_seconds: float
    resident_bytes: int
    resident_budget_bytes: int
    worker_endings: _containers.ScalarMap[str, int]
    recycled_workers: int
    fenced_workers: int
    connections: int
    job_calls: int
    max_job_calls: int
    waiting_calls: int
    feeding_calls: int
    refused_calls: int
    pipelines: bool
    memory_paths: _containers.RepeatedScalarFieldContainer[str]
    shared_bytes: int
    shared_budget_bytes: int
    busy_workers: int
    arena_largest_free_bytes: int
    arena_reserved_bytes: int
    ended_jobs: _containers.ScalarMap[str, int]
    received_bytes: _containers.ScalarMap[str, int]
    sent_bytes: _containers.ScalarMap[str, int]
    refusals: _containers.ScalarMap[str, int]
    loop_lag_seconds: float
    def __init__(self, version: _Optional[str] = ..., protocol: _Optional[int] = ..., oldest_protocol: _Optional[int] = ..., workers: _Optional[int] = ..., arena_bytes: _Optional[int] = ..., arena_free_bytes: _Optional[int] = ..., frame_bytes: _Optional[int] = ..., message_bytes: _Optional[int] = ..., unary_bytes: _Optional[int] = ..., max_nodes: _Optional[int] = ..., max_dimensions: _Optional[int] = ..., operations: _Optional[_Iterable[_Union[OperationInfo, _Mapping]]] = ..., running_jobs: _Optional[int] = ..., waiting_jobs: _Optional[int] = ..., uptime_seconds: _Optional[float] = ..., numpy_version: _Optional[str] = ..., bulk_port: _Optional[int] = ..., max_wait_seconds: _Optional[float] = ..., resident_bytes: _Optional[int] = ..., resident_budget_bytes: _Optional[int] = ..., worker_endings: _Optional[_Mapping[str, int]] = ..., recycled_workers: _Optional[int] = ..., fenced_workers: _Optional[int] = ..., connections: _Optional[int] = ..., job_calls: _Optional[int] = ..., max_job_calls: _Optional[int] = ..., waiting_calls: _Optional[int] = ..., feeding_calls: _Optional[int] = ..., refused_calls: _Optional[int] = ..., pipelines: bool = ..., memory_paths: _Optional[_Iterable[str]] = ..., shared_bytes: _Optional[int] = ..., shared_budget_bytes: _Optional[int] = ..., busy_workers: _Optional[int] = ..., arena_largest_free_bytes: _Optional[int] = ..., arena_reserved_bytes: _Optional[int] = ..., ended_jobs: _Optional[_Mapping[str, int]] = ..., received_bytes: _Optional[_Mapping[str, int]] = ..., sent_bytes: _Optional[_Mapping[str, int]] = ..., refusals: _Optional[_Mapping[str, int]] = ..., loop_lag_seconds: _Optional[float] = ...) -> None: ...

class OperationInfo(_message.Message):
    __slots__ = ("name", "kind", "min_args", "max_args", "params", "summary")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MIN_ARGS_FIELD_NUMBER: _ClassVar[int]
    MAX_ARGS_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: str
    min_args: int
    max_args: int
    params: _containers.RepeatedScalarFieldContainer[str]
    summary: str
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., min_args: _Optional[int] = ..., max_args: _Optional[int] = ..., params: _Optional[_Iterable[str]] = ..., summary: _Optional[str] = ...) -> None: ...
