"""The tabs of the page, each in a file of its own: `add_...(desk)` lays one out inside its tab and wires it."""
