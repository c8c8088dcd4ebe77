"""Bodies of requests and answers in JSON.

Owns: their media type, how much of one is held, reading one into a wire type.   Not: the types (operations), refusing what is too long before it
is sent (front.py).
Rule: whoever reads a body says how long it may be: behind a mount nobody else does.
"""

from __future__ import annotations

from typing import Final, TypeVar

from msgspec.json import Decoder
from starlette.requests import Request
from starlette.responses import Response

from signtusk_realtime.errors import InvalidInput, LimitExceeded
from signtusk_realtime.operations.documents.workshop import Workshop
from signtusk_realtime.protocol import json
from signtusk_realtime.protocol.handshake import Headers
from signtusk_realtime.server.request import single_header

T = TypeVar("T")

JSON: Final = "application/json"


SMALL_BYTES: Final = 16 << 10
"""More than any body but events and edits needs: a token has at most 8 KiB."""


async def read_body(
    request: Request, decoder: Decoder[T], *, depth: int, too_deep: str = "invalid_json", most: int = SMALL_BYTES
) -> T:
    """Read a request's body of at most `most` bytes.

    Raises: InvalidInput (unsupported_media_type, invalid_json, `too_deep`, invalid_message with the place), LimitExceeded
    (payload_too_large), before more than that is held.
    """
    found, _ = await read_sized_body(request, decoder, depth=depth, too_deep=too_deep, most=most)
    return found


async def read_sized_body(
    request: Request,
    decoder: Decoder[T],
    *,
    depth: int,
    too_deep: str = "invalid_json",
    most: int = SMALL_BYTES,
    values: int | None = None,
    workshop: Workshop | None = None,
) -> tuple[T, int]:
    """Do the same, and say how many bytes it had: it is not kept, and cannot be read again. `values`: how many it may hold, else it is
    refused with limit_exceeded; `workshop`: where large ones are decoded.
    """
    check_media_type(request.scope["headers"])
    data = await bounded_body(request, most)

    def decode() -> T:
        if values is not None:
            json.check_values(data, values)
        return json.decode(data, decoder, depth=depth)

    try:
        return (decode() if workshop is None else await workshop.do(decode, size=len(data))), len(data)
    except InvalidInput as error:
        code = too_deep if error.code == "too_deep" else error.code
        raise InvalidInput(error.message, code=code, path=error.path) from None


async def bounded_body(request: Request, most: int) -> bytes:
    """Read a request's body. Raises: LimitExceeded (payload_too_large), before more than `most` bytes are held, and a piece."""
    declared = request.headers.get("content-length", "0")
    found = bytearray()
    if int(declared) <= most:
        async for chunk in request.stream():
            found += chunk
            if len(found) > most:
                break
        else:
            return bytes(found)
    raise LimitExceeded(f"the body has more than {most} bytes", code="payload_too_large")


def answer(value: object, status: int = 200) -> Response:
    """Make an answer of a wire type."""
    return Response(json.encode(value), status_code=status, media_type=JSON)


def check_media_type(headers: Headers) -> None:
    """Check that a body is JSON in UTF-8, uncompressed. Raises: InvalidInput (unsupported_media_type)."""
    content_type = single_header(headers, b"content-type") or b""
    media_type, *parameters = content_type.lower().split(b";")
    media_type = media_type.strip(b" \t")
    charsets = [value for name, _, value in (p.partition(b"=") for p in parameters) if name.strip(b" \t") == b"charset"]
    is_json = media_type == b"application/json" or (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    )
    if not is_json or any(c.strip(b' \t"') not in (b"utf-8", b"utf8") for c in charsets):
        raise InvalidInput("Content-Type must be application/json, in UTF-8", code="unsupported_media_type")
    if (single_header(headers, b"content-encoding") or b"identity").lower() != b"identity":
        raise InvalidInput("a compressed body is not accepted", code="unsupported_media_type")
