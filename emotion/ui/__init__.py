"""The page: translates between a browser and the core, and decides nothing.

`page` builds and mounts it, `layout` has what stands around the tabs, `tabs` one file for each; `desk` is what all of
them work with. `runs` and `batches` follow recordings through the recogniser, `live_socket` the microphone. `render`,
`..._render` and `lanes` turn what the core says into what is shown, `clip_view` shows one clip on any tab. `shelf` and
`details` serve files and closer looks, `uploads` forgets what came from a browser. `words` holds every text in English
and Chinese, `language` whose turn it is, `theme` the looks.
"""
