"""The worker: what measures on any device, with nothing but Python's standard library and one runtime.

Its modules run on Python 3.6 (JetPack 4) and import the standard library, each other, and runtimes inside functions. A device gets
them joined into one file; on this machine `nas profile` imports them, so that a table is measured by one protocol everywhere.
"""
