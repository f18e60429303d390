"""The site: a page for each board and an index, each one file that is opened from disk without a server or network.

``page`` makes the page of a board from its tables (``tables``), the rows of its plots (``points``) and the thinned records of
its cells (``details``); ``index`` makes the index, ``samples`` what the models generate. ``specs`` holds the plots as Vega-Lite
specifications, which ``compiling`` turns into those of Vega; ``pictures`` draws the same for the Markdown boards. ``styles``
gives each defense its colour and shape, ``text`` turns entries and Markdown into HTML, ``packing`` saves space, ``libraries``
loads what is not ours.
``templates/`` holds HTML, CSS and JavaScript.
"""
