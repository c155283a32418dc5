"""Admission by webhooks: MutatingWebhookConfigurations and ValidatingWebhookConfigurations.

Reading order: `hooks` (configurations, compiled), `rules` and `registered` (which of them a write concerns), `conditions` (CEL), `versions`
and `review` (what a webhook is asked, and what it answers), `calling` (one call), `mutating` and `validating` (all calls of a write), `metrics`.

Upstream counterpart: apiserver's pkg/admission/plugin/webhook.
"""
