"""Realtime in a Django project's asgi.py: `uvicorn examples.django_asgi:application`; browsers follow under /rt.

Django serves everything else. Starlette, which comes with this package, stands before both and runs the service's lifespan.
"""

from __future__ import annotations

import json

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from starlette.applications import Starlette
from starlette.routing import Mount

from signtusk_realtime import DocumentUpdateEvent, RealtimeService

# A project has this in its settings.py; here it makes one file of it.
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["localhost", "127.0.0.1"], SECRET_KEY="of no use here")

service = RealtimeService()


async def save(request: HttpRequest, document_id: str) -> JsonResponse:
    """Save a document; everybody who has it open learns of it."""
    event = DocumentUpdateEvent(
        document_id=document_id,
        type="updated",
        changes=json.loads(request.body),
        user_id="user456",
        organization_id="org123",
    )
    published = await service.emit_document_update(event)
    return JsonResponse({"eventId": published.event_id})


urlpatterns = [path("documents/<str:document_id>", save)]

application = Starlette(
    routes=[Mount("/rt", service.asgi), Mount("/", get_asgi_application())],
    lifespan=service.lifespan,
)
