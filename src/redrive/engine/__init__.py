"""The recovery engine. Its package documentation is in :mod:`redrive.engine.model`."""
