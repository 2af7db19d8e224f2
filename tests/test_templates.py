"""HTML from templates: what is escaped, which language it speaks, and what its layout adds."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError

import emotion
from emotion.labels import LANGUAGES
from emotion.texts import Words
from emotion.texts.templates import Templates, _environment

PACKAGE = Path(emotion.__file__).parent
FOLDERS = [PACKAGE / "ui" / "templates", PACKAGE / "access" / "templates"]
NAMES = [(folder, path.relative_to(folder).as_posix()) for folder in FOLDERS for path in folder.rglob("*.html")]


def rendered(folder: Path, html: str, language: str = "en", **values: object) -> str:
    (folder / "one.html").write_text(html, encoding="utf-8")
    return Templates(folder).render("one.html", Words(language), **values)


def test_a_value_is_escaped_and_a_text_comes_in_the_language_of_the_reader(tmp_path):
    html = '<p title="{{ name }}">{{ "batch.open"|text }}</p>'
    assert rendered(tmp_path, html, name='"<b>') == '<p title="&#34;&lt;b&gt;">Open</p>'
    (tmp_path / "zh").mkdir()
    assert rendered(tmp_path / "zh", html, "zh", name="a") == '<p title="a">打开</p>'


def test_emotions_bytes_times_and_shares_have_filters(tmp_path):
    html = '{{ "happy"|emotion|name }} {{ 2e9|size }} {{ 12.8|clock }} {{ 90|duration }} {{ 0.853|percent }}'
    assert rendered(tmp_path, html, "zh") == "快乐 2.00 GB 0:12.8 2 分钟 85.3%"


def test_the_layout_of_a_template_adds_no_blanks(tmp_path):
    html = """
<ul
  class="a">
  {% for name in names %}
  <li>
    {{ name }} <b>is</b>
    {{ name }}
  </li>
  {% endfor %}
</ul>
"""
    assert rendered(tmp_path, html, names=["x\n y"]) == '<ul class="a"><li>x\n y <b>is</b>x\n y</li></ul>'


def test_a_value_that_is_not_given_is_a_fault(tmp_path):
    with pytest.raises(UndefinedError):
        rendered(tmp_path, "{{ nothing }}")


@pytest.mark.parametrize(("folder", "name"), NAMES, ids=[name for _, name in NAMES])
def test_every_template_is_used_and_names_only_texts_that_there_are(folder, name):
    for language in LANGUAGES:
        _environment(folder, language).get_template(name)
    sources = [path.read_text(encoding="utf-8") for kind in ("*.py", "*.html") for path in PACKAGE.rglob(kind)]
    assert any(f'"{name}"' in source for source in sources)
