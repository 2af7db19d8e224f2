"""The templates of the page."""

from pathlib import Path

from emotion.texts.templates import Templates

render = Templates(Path(__file__).parent / "templates").render
