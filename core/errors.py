"""Every error that oarseg raises on purpose. Each message names the file or organ, what was found, and what to do."""


class OarsegError(Exception):
    """Root of the family: catch this one to catch them all."""


class InputError(OarsegError):
    """The given image cannot be used: missing, empty, truncated, not a CT, or of an unsupported kind."""


class GeometryError(InputError):
    """The slices or the affine do not describe one regular volume (gaps, duplicates, tilt, zero spacing)."""


class ConfigError(OarsegError):
    """A site table, datalist, bundle or option does not fit the others."""


class WeightsError(OarsegError):
    """A weight file is missing, damaged, or not the one its checksum names."""


class OutputError(OarsegError):
    """A result cannot be written: the place exists, is not writable, or is full."""
