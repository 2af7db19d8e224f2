"""The page: translates between a browser and the core, and decides nothing.

`page` builds and mounts it, `layout` has what stands around the tabs and the components of all, `tabs` one file for
each; `page_context` is what all of them work with, `workspace` what belongs to one client. `runs` and `batches` follow
recordings through the recognizer, `live_socket` the microphone. `render` and `..._render` turn what the core says into
HTML by the `templates`, `timeline_data` into the lanes of a timeline, and `clip_view` shows one clip on any tab.
`file_links` and `timeline_detail` serve files and closer looks, `uploads` deletes what came from a browser, and
`gradio_adapter` and `guard` stand between Gradio and the rest. `theme` and `scripts` serve `assets`.
"""
