"""DICOM in and out: CT series reader, RTSTRUCT and SEG writers.

``oarseg.dicom.reader`` (MONAI's ImageReader) is not imported here, so that looking into a folder does not load torch.
"""

from oarseg.dicom.read.choose import choose_series, listing
from oarseg.dicom.read.scan import FoundSeries, Scan, scan_folder
from oarseg.dicom.read.series import CtGrid, CtVolume, SliceInstance, check_series, read_ct, read_series
from oarseg.dicom.write.contours import Contour, mask_contours
from oarseg.dicom.write.rtstruct import Roi, StructureSet, write_rtstruct
from oarseg.dicom.write.save import Written
from oarseg.dicom.write.seg import Segment, Segmented, write_seg

__all__ = [
    "Contour",
    "CtGrid",
    "CtVolume",
    "FoundSeries",
    "Roi",
    "Scan",
    "Segment",
    "Segmented",
    "SliceInstance",
    "StructureSet",
    "Written",
    "check_series",
    "choose_series",
    "listing",
    "mask_contours",
    "read_ct",
    "read_series",
    "scan_folder",
    "write_rtstruct",
    "write_seg",
]
