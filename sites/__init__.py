"""Site tables: what an organ is stands here and nowhere else. See :mod:`oarseg.sites.table`."""

from oarseg.sites.table import Localizer, Organ, Site, load_organ, load_site

__all__ = ["Localizer", "Organ", "Site", "load_organ", "load_site"]
