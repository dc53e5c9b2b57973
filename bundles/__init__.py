"""The bundles, and the code that renders them from the site table and templates.

``root`` is what every bundle's config calls to find itself, so it must not import more than it needs.
"""

from oarseg.bundles.location import FOLDER, name_of, root, where

__all__ = ["FOLDER", "name_of", "root", "where"]
