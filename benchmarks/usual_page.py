"""A page over FunASR as it is usually written, to be measured beside ours: `usual_page.py CHECKPOINT PORT`.

One resident model, Gradio's own queue, a file in, labels and scores out.
"""

import sys
from typing import Any

import gradio as gr

from emotion.model.funasr_runtime import import_funasr


def main() -> None:
    checkpoint, port = sys.argv[1:]
    model = import_funasr()(model=checkpoint, device="cpu", disable_update=True, disable_pbar=True)

    def recognize(path: str, granularity: str) -> dict[str, float]:
        # FunASR loads the file itself, as in its own examples.
        found: dict[str, Any] = model.generate(path, granularity=granularity, extract_embedding=False)[0]
        return dict(zip(found["labels"], found["scores"], strict=True))

    page = gr.Interface(
        recognize,
        [gr.Audio(type="filepath"), gr.Radio(["utterance", "frame"], value="utterance")],
        gr.Label(),
        api_name="recognize",
    )
    page.queue().launch(server_name="127.0.0.1", server_port=int(port), quiet=True)


if __name__ == "__main__":
    main()
