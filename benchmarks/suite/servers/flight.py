"""An Arrow Flight server that computes nothing: it counts the bytes of `sink`, and keeps what is put as `keep`."""

from __future__ import annotations

from typing import Any

from pyarrow import flight

from suite.processes import announce


class Depot(flight.FlightServerBase):  # type: ignore[misc] # has no types
    """Counts the bytes of what is put, and gives back the last that was to be kept."""

    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Read every batch; answer with their bytes when all is read."""
        if descriptor.path == [b"keep"]:
            self.kept = reader.read_all()
            nbytes = self.kept.nbytes
        else:
            nbytes = sum(chunk.data.nbytes for chunk in reader)
        writer.write(str(nbytes).encode())

    def do_get(self, context: Any, ticket: Any) -> Any:
        """Send what was put last."""
        return flight.RecordBatchStream(self.kept)


if __name__ == "__main__":
    server = Depot("grpc://127.0.0.1:0")
    announce(f"127.0.0.1:{server.port}")
    server.serve()
