"""Image and pixel metrics of anomaly detection; higher scores mean more anomalous."""

from .image import auroc_placements, average_precision, f1_max, image_auroc
from .pixel import aupro, pixel_auroc, pixel_average_precision, pixel_f1_max, saturated_regions, spro
from .pixel_curve import Computed, PixelCurve, Stack, pixel_curve

__all__ = [
    "Computed",
    "PixelCurve",
    "Stack",
    "aupro",
    "auroc_placements",
    "average_precision",
    "f1_max",
    "image_auroc",
    "pixel_auroc",
    "pixel_average_precision",
    "pixel_curve",
    "pixel_f1_max",
    "saturated_regions",
    "spro",
]
