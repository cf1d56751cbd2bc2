"""An Arrow Flight server whose do_put receives everything and computes nothing."""

from __future__ import annotations

from typing import Any

from pyarrow import flight


class Sink(flight.FlightServerBase):  # type: ignore[misc]
    """Counts the bytes of what is put."""

    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Read every batch and forget it; answer when all is read."""
        nbytes = sum(chunk.data.nbytes for chunk in reader)
        writer.write(str(nbytes).encode())


if __name__ == "__main__":
    server = Sink("grpc://127.0.0.1:0")
    print(f"flight ready: 127.0.0.1:{server.port}", flush=True)
    server.serve()
