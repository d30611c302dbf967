"""The size of every backbone, written down as it was counted.

The two tables are printed by ``python -m neon_sim.policies.backbones.counting``; a test counts
again. Counting takes seconds of imports, and an error about weights that are missing tells their
size, so nothing here imports what counts.
"""

from __future__ import annotations

from dataclasses import dataclass

BF16_BYTES = 2  # bytes of a weight
NF4_BYTES = 0.5 + 1 / 64 * (
    1 + 4 / 256
)  # bytes of a weight: 4 bits, and a doubly quantised scale for 64 weights


@dataclass(frozen=True)
class Size:
    """Parameters of a backbone without its language head.

    Attributes:
        parameters: all of them.
        linear: those of the linear layers of the language model, which NF4 packs.
        hidden: width of a token.
    """

    parameters: int
    linear: int
    hidden: int

    @property
    def bf16_gb(self) -> float:
        """Weights in bf16, GB (1e9 bytes)."""
        return gigabytes(self.parameters)

    @property
    def nf4_gb(self) -> float:
        """Weights with the linear layers of the language model in NF4, the rest in bf16, GB."""
        rest = self.parameters - self.linear
        return (self.linear * NF4_BYTES + rest * BF16_BYTES) / 1e9


def gigabytes(parameters: int) -> float:
    """Memory of weights in bf16, GB (1e9 bytes)."""
    return parameters * BF16_BYTES / 1e9


# Backbone -> parameters, those that NF4 packs, width of a token.
SIZES: dict[str, tuple[int, int, int]] = {
    "qwen_vl_3b": (3754622976, 2774532096, 2048),
    "qwen_vl_7b": (7747169280, 6525288448, 3584),
    "qwen_omni_3b": (4392299520, 2774532096, 2048),
    "qwen_omni_7b": (8386816512, 6525288448, 3584),
    "cosmos_reason2_2b": (2127532032, 1409286144, 2048),
    "cosmos_reason2_8b": (8144793840, 6945767424, 4096),
    "vjepa2": (303885312, 0, 1024),
    "videomae": (86225664, 0, 768),
    "tribev2": (4935646656, 2818572288, 1152),
    "fvlm_135m": (157015296, 0, 576),
    "siglip": (92884224, 0, 768),
    "siglip2": (92884224, 0, 768),
    "clip": (85799424, 0, 768),
    "dinov2": (86580480, 0, 768),
    "dinov3": (21596544, 0, 384),
    "siglip_dinov2": (732053440, 0, 2176),
    "timesformer": (121258752, 0, 768),
    "vivit": (89236992, 0, 768),
    "r3d_18": (33371472, 0, 512),
    "mc3_18": (11695440, 0, 512),
    "r2plus1d_18": (31505325, 0, 512),
    "s3d": (8320048, 0, 1024),
    "mvit_v2_s": (34537744, 0, 768),
    "efficientnet_lite0": (4631000, 0, 112),
    "transnetv2": (7616258, 0, 256),
    "neon_tiny": (823792, 0, 64),
    "neon_tiny_image": (823792, 0, 64),
    "random": (0, 0, 64),
    "exact_motion": (823792, 0, 80),
    "exact_flow": (823792, 0, 66),
    "state": (0, 0, 7),
    "none": (0, 0, 1),
}

# Parameters loaded from each repository of the models that have several.
REPOSITORY_PARAMETERS: dict[str, int] = {
    "facebook/vjepa2-vitg-fpc64-256": 1012173952,
    "facebook/w2v-bert-2.0": 580493120,
    "meta-llama/Llama-3.2-3B": 3212749824,
    "sanps/fVLM-135M": 157015296,
    "facebook/dinov2-small": 0,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 0,
}
