"""How a conversion webhook is reached: by the pooled client that admission's webhooks are called by.

Upstream counterpart: apiextensions-apiserver's pkg/apiserver/conversion (webhook_converter.go).
"""

from __future__ import annotations

import base64
import binascii

from navarch.apiserver.extensions import answers, clients
from navarch.apiserver.extensions.clients import Calls, Failed, Target
from navarch.apiserver.extensions.conversion import ConversionFailed
from navarch.apiserver.extensions.definition import Webhook

SECONDS = 30.0
MOST_BYTES = 64 * 1024 * 1024
"""Of an answer: hundreds of objects are converted at once."""


async def post(calls: Calls, webhook: Webhook, review: bytes) -> bytes:
    """What a webhook answers to a review. ConversionFailed when it does not."""
    target = _target(webhook)
    try:
        answer = await calls.post(target, review, SECONDS, most_bytes=MOST_BYTES)
    except Failed as error:
        raise ConversionFailed(str(error)) from None
    if not 200 <= answer.status <= 206:
        raise ConversionFailed(answers.failure(answer).status.message or "")
    return answer.body


def _target(webhook: Webhook) -> Target:
    config = webhook.clientConfig
    if config is None:
        raise ConversionFailed("no client configuration")
    try:
        authorities = base64.b64decode(config.caBundle or "")
        if config.service is None:
            return clients.of_url(config.url or "", authorities=authorities)
        service = config.service
        return clients.of_service(service.namespace or "", service.name or "", port=service.port, path=service.path or "", authorities=authorities)
    except binascii.Error:
        raise ConversionFailed("could not get REST client: unable to load root certificates: unable to parse bytes as PEM block") from None
    except ValueError as error:
        raise ConversionFailed(f"could not get REST client: {error}") from None
