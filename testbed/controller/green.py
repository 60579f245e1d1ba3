"""eventlet, on which Ryu and os-ken stand: importing this patches the process for its green threads.

It has to come before anything that keeps a lock. Nothing but `python -m testbed.controller` does it.
"""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # It asks its users to leave it.
    warnings.simplefilter("ignore")
    import eventlet as eventlet
    import eventlet.event
    import eventlet.wsgi

eventlet.monkey_patch()
# Ryu 4.34 looks for a name that eventlet dropped in 0.30.3; only its unused web server uses it.
eventlet.wsgi.ALREADY_HANDLED = object()
