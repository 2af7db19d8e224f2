"""Which route a request is meant for that a guard refused before the router saw it."""

from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Match
from starlette.types import Scope


def route_of(scope: Scope) -> str | None:
    """The template of the route, as `/v1/analyses/{id}`, also where only the method does not fit; None without one.

    The page, which takes every address that is left, counts as none.
    """
    other_method: str | None = None
    for context in iter_route_contexts(scope["app"].routes):
        route = context.original_route
        if not isinstance(route, APIRoute):
            continue
        match, _ = context.matches(scope)
        if match is Match.FULL:
            return route.path
        if match is Match.PARTIAL:
            other_method = other_method or route.path
    return other_method
