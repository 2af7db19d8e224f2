// A zip that was asked for. Runs as `js_on_load` of its gr.HTML: the link is followed as soon as it comes.
watch("value", () => element.querySelector("a")?.click());
