"""LitServe with its own batching: one inference worker, as it starts by default on one device.

Annotations are evaluated here, because LitServe reads them: with strings in their place it takes the body for a query.
"""

from typing import Annotated

import litserve
from fastapi import Body, Response

from benchmarks.serve.work import Row, batch_size, port, work
from service.images import Pixels

BATCH_TIMEOUT = 0.005  # seconds; with 0, and with 0.02, it served fewer here

Picture = Annotated[bytes, Body()]


class Api(litserve.LitAPI):  # type: ignore[misc]  # it is not installed where types are checked
    """Decode, batch, infer, answer."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Load the model in the worker."""
        self.work = work()

    def decode_request(self, request: Picture) -> Pixels:
        """Bytes to model input."""
        return self.work.decode(request)

    def batch(self, inputs: list[Pixels]) -> list[Pixels]:
        """As they are: the work stacks them."""
        return inputs

    def predict(self, inputs: list[Pixels] | Pixels) -> list[Row] | Row:
        """One batch, or one picture where batching is off."""
        return self.work.infer(inputs) if isinstance(inputs, list) else self.work.infer([inputs])[0]

    def unbatch(self, output: list[Row]) -> list[Row]:
        """As they are."""
        return output

    def encode_response(self, output: Row) -> Response:
        """The JSON."""
        return Response(self.work.answer(output), media_type="application/json")


if __name__ == "__main__":
    api = Api(max_batch_size=batch_size(), batch_timeout=BATCH_TIMEOUT, api_path="/score")
    server = litserve.LitServer(api, accelerator="cpu", timeout=120)
    server.run(port=port(), host="127.0.0.1", generate_client_file=False, log_level="warning", access_log=False)
