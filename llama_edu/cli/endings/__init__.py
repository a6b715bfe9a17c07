"""Signals that would end the command line: they clean up, or they are explained.

`signals` lets SIGTERM and SIGHUP unwind as Ctrl+C does; `bus_error` says why a mapping failed.
"""
