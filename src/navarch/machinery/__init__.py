"""How any API object behaves, whichever kind it is: codecs, selectors, quantities, patches, errors."""
