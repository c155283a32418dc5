"""Services: Endpoints and EndpointSlices."""
