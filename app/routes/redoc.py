"""ReDoc without an internet connection: the installed bundle would load a logo from its maker's
site."""

from functools import cache
from pathlib import Path

import fastapi_offline
from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_redoc_html
from starlette.responses import HTMLResponse

_BUNDLE = Path(fastapi_offline.__file__).parent / "static" / "redoc.standalone.js"
_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
_NOTHING = b"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E"

router = APIRouter(include_in_schema=False)


@router.get("/redoc")
async def redoc(request: Request) -> HTMLResponse:
    return get_redoc_html(
        openapi_url="openapi.json",
        title=request.app.title,
        redoc_js_url="redoc.js",
        redoc_favicon_url="static-offline-docs/favicon.png",
        with_google_fonts=False,
    )


@router.get("/redoc.js")
def bundle() -> Response:
    return Response(_script(), media_type="text/javascript")


@cache
def _script() -> bytes:
    return _BUNDLE.read_bytes().replace(_LOGO, _NOTHING)
