"""The site: a page for each board and an index, each one file that is opened from disk without a server or network.

``page`` makes the page of a board from its tables (``tables``), the rows of its plots (``points``) and the thinned records of
its cells (``details``); ``index`` makes the index. ``specs`` holds the plots as Vega-Lite specifications, ``text`` turns
entries and Markdown into HTML, ``libraries`` loads what the extra "site" brings. ``templates/`` holds HTML, CSS and JavaScript.
"""
