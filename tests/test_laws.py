"""Laws of the house: who may import whom, and that importing does nothing."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "emotion"
# Data flows down: a room imports only rooms above it, one row for each.
ROOMS = [
    "labels",
    "formatting",
    "errors",
    "texts",
    "settings",
    "logs",
    "record",
    "client",
    "hardware",
    "audio",
    "model",
    "analysis",
    "cache",
    "outputs",
    "engine",
    "live",
    "monitor",
    "access",
    "metrics",
    "cluster",
    "doctor",
    "api",
    "ui",
    "server",
    "bulk",
    "cli",
]
LEVEL_OF = {room: level for level, room in enumerate(ROOMS)}
# The faces: each translates for somebody else, and none through another.
FACES = {"api", "ui"}
ALLOWED = {
    "gradio": {"ui"},
    "jinja2": {"texts"},
    "fastapi": {"ui", "api", "server"},
    "redis": {"cache"},
    "prometheus_client": {"metrics"},
    "limits": {"access"},
    "pyarrow": {"bulk"},
    "ray": {"cluster", "bulk"},
    "torch": {"model"},
    "openvino": {"model"},
    "nncf": {"model"},
    "soundfile": {"audio"},
    "av": {"audio"},
    "soxr": {"audio"},
    "typer": {"cli"},
    "funasr": {"model"},
    "modelscope": {"model"},
    "huggingface_hub": {"model"},
}


@functools.cache
def imports_of(path: Path) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def rooms_used(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports_of(path) if name.startswith("emotion.")} & set(LEVEL_OF)


def sources() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if room_of(path) not in ("__init__", "__main__")]


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    return done.stdout.strip()


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_above_it(path):
    room = room_of(path)
    assert room in LEVEL_OF, f"{room} has no place in the house: add it to ROOMS"
    below = {other for other in rooms_used(path) - {room} if LEVEL_OF[other] > LEVEL_OF[room]}
    assert not below, f"{room} imports from below: {below}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_face_imports_another(path):
    room = room_of(path)
    assert room not in FACES or not rooms_used(path) & FACES - {room}


@pytest.mark.parametrize("path", sorted((PACKAGE / "model" / "checkpoint").glob("*.py")), ids=lambda path: path.name)
def test_weights_on_disk_know_of_no_network(path):
    used = {name for name in imports_of(path) if name.startswith("emotion.model.")}
    assert all(name.startswith(("emotion.model.checkpoint", "emotion.model.contract")) for name in used)


@pytest.mark.parametrize("name", ["contract", "emotion2vec", "openvino_graph", "compact"])
def test_networks_know_of_no_runtime(name):
    used = {other for other in imports_of(PACKAGE / "model" / f"{name}.py") if other.startswith("emotion.model.")}
    known = ("checkpoint", "contract", "emotion2vec", "openvino_api")
    assert all(other.split(".")[2] in known for other in used)


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_packages_stay_in_their_rooms(path):
    used = {name.split(".")[0] for name in imports_of(path)} & set(ALLOWED)
    assert all(room_of(path) in ALLOWED[package] for package in used), used


def test_importing_emotion_imports_neither_torch_nor_numpy_nor_gradio():
    loaded = run_python("import emotion, sys; print(sorted({'torch', 'numpy', 'gradio', 'av'} & set(sys.modules)))")
    assert loaded == "[]"


def test_the_help_of_the_command_line_imports_neither_torch_nor_gradio_nor_numpy():
    code = (
        "import sys\nfrom emotion.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'gradio', 'pydantic'} & set(sys.modules)))"
    )
    assert run_python(code).endswith("[]")


def test_importing_every_module_changes_no_environment_no_folder_and_no_thread_count(tmp_path):
    modules = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in sources()]
    modules = [module.removesuffix(".__init__") for module in modules if ".ui." not in module]
    code = f"""
import importlib, logging, os, sys, threading
import torch
sys.path.insert(0, {str(PACKAGE.parent)!r})
os.chdir({str(tmp_path)!r})
def world():
    return dict(os.environ), os.listdir(), torch.get_num_threads(), threading.active_count(), logging.root.level
before = world()
for module in {modules!r}:
    importlib.import_module(module)
print(before == world())
"""
    assert run_python(code).endswith("True")


def test_a_notebook_needs_three_lines():
    code = (
        "from emotion import Recognizer, EMOTIONS, Analysis, Clip, EmotionError, Segment\n"
        "import sys; print('gradio' in sys.modules, len(EMOTIONS))"
    )
    assert run_python(code) == "False 9"
