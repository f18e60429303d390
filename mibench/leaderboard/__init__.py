"""The leaderboard: from a suite's file and its records to pages and pictures.

``selection`` chooses the records of a suite that are current. ``frame`` makes one row of each. ``board`` summarises them with
``summaries``, ``controls``, ``front`` and ``claimed``. ``columns``, ``main_columns``, ``tables``, ``audits`` and ``details``
turn that into tables as data, which ``markdown`` shows. ``pictures`` draws stored samples; it alone loads torch.
"""
