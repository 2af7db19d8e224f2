"""The looks of the page: a quiet theme with the fonts of the visitor's machine, so that nothing is fetched."""

from pathlib import Path

import gradio as gr

_ASSETS = Path(__file__).parent / "assets"
_FONTS = (
    "system-ui", "-apple-system", "Segoe UI", "PingFang SC", "Microsoft YaHei",
    "Noto Sans CJK SC", "WenQuanYi Zen Hei", "sans-serif",
)  # fmt: skip


def theme() -> gr.themes.Base:
    """Greys only: the nine emotions are the colours of this page."""
    base = gr.themes.Base(
        primary_hue="slate",
        secondary_hue="slate",
        neutral_hue="slate",
        radius_size="lg",
        font=list(_FONTS),
        font_mono=["ui-monospace", "Consolas", "monospace"],
    )
    return base.set(
        body_background_fill="#f6f7f9",
        body_background_fill_dark="#0f141b",
        block_background_fill="#ffffff",
        block_background_fill_dark="#171e28",
        body_text_color_subdued="#5b6675",
        body_text_color_subdued_dark="#a3afbe",
        block_info_text_color="#5b6675",
        block_info_text_color_dark="#a3afbe",
        block_label_text_color="#5b6675",
        block_label_text_color_dark="#a3afbe",
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="*body_text_color",
        block_border_width="1px",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_hover="#eef1f4",
        button_secondary_border_color="#cdd4dd",
        button_secondary_background_fill_dark="#1d2530",
        button_secondary_background_fill_hover_dark="#2a3442",
        button_secondary_border_color_dark="#3a4554",
        button_border_width="1px",
        input_background_fill_dark="#1d2530",
        block_shadow="none",
        button_primary_background_fill="#1f2a3a",
        button_primary_background_fill_hover="#33445c",
        button_primary_text_color="#ffffff",
        button_primary_background_fill_dark="#e6ebf2",
        button_primary_background_fill_hover_dark="#ffffff",
        button_primary_text_color_dark="#141b25",
    )


def asset(name: str) -> str:
    """The text of a file beside the page."""
    return (_ASSETS / name).read_text(encoding="utf-8")


def css() -> str:
    """Every style of the page: the general one first, then those of its parts."""
    parts = sorted(path.name for path in _ASSETS.glob("*.css") if path.name != "page.css")
    return "".join(asset(name) for name in ("page.css", *parts))
