"""hydra/launcher=process: every job of a sweep in a process of its own.

Hydra imports what lies here whenever it starts, except modules whose names begin with an
underscore: those are imported when a sweep begins, so that single runs do not pay for them.
"""
