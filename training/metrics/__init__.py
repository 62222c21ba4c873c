"""Image and pixel metrics of anomaly detection; higher scores mean more anomalous."""

from .image import average_precision, f1_max, image_auroc
from .pixel import aupro, pixel_auroc

__all__ = ["aupro", "average_precision", "f1_max", "image_auroc", "pixel_auroc"]
