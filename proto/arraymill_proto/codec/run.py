"""Messages of the Run stream: frames as views, everything else as the generated classes."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from arraymill_proto import frames
from arraymill_proto.errors import FrameError
from arraymill_proto.frames import Envelope, FrameView
from arraymill_proto.v1 import arraymill_pb2 as pb


def parse_request(message: bytes) -> FrameView | pb.RunRequest:
    """Read a message of the client on Run: a frame as a view of the message, anything else as the generated class.

    Raises:
        FrameError: The bytes are no RunRequest.
    """
    view = frames.decode(message, Envelope.REQUEST)
    if view is not None:
        return view
    try:
        request = pb.RunRequest.FromString(message)
    except DecodeError as exc:
        raise FrameError(f"a message of {len(message)} bytes is no RunRequest") from exc
    return _frame_view(request.frame) if request.HasField("frame") else request


def parse_response(message: bytes) -> FrameView | pb.RunResponse:
    """Read a message of the server on Run: a frame as a view of the message, anything else as the generated class.

    Raises:
        FrameError: The bytes are no RunResponse.
    """
    view = frames.decode(message, Envelope.RESPONSE)
    if view is not None:
        return view
    try:
        response = pb.RunResponse.FromString(message)
    except DecodeError as exc:
        raise FrameError(f"a message of {len(message)} bytes is no RunResponse") from exc
    return _frame_view(response.frame) if response.HasField("frame") else response


def _frame_view(frame: pb.Frame) -> FrameView:
    checksum = frame.checksum if frame.HasField("checksum") else None
    return FrameView(frame.want, frame.index, frame.offset, memoryview(frame.data), checksum)
