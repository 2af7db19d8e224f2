"""The page: translates between a browser and the recogniser, and decides nothing.

`page` builds and mounts it, `runs` follows a recording through the recogniser, `render` and `lanes` turn an analysis
into what is shown, `words` holds every text in English and Chinese, `theme` its looks.
"""
