"""Pre-training of the compact teacher: a small ViT that imitates the features of an ImageNet-trained EfficientNet-Lite0.

The compact teacher is a stand-in for DINOv2 where its weights cannot be had (tests, demos, air-gapped sites). It has the
same architecture and the same interface (`transformers`' Dinov2WithRegisters), only narrower, so that nothing downstream
knows the difference. EfficientNet is needed here and nowhere else.
"""

from .batches import PretrainBatches, load_photos
from .loop import pretrain
from .settings import PretrainSettings

__all__ = ["PretrainBatches", "PretrainSettings", "load_photos", "pretrain"]
