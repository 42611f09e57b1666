"""The shape of a model's networks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """Channels and depth of a model. The defaults are those of the models of generation 1 that ship, but for the stage
    at 1/4, the context and the additional blocks of the analysis."""

    latent: int = 384  # M, at 1/16; unused channels cost no bits, too few limit the highest quality
    hyper: int = 96  # Z, at 1/64
    coarse: int = 256  # width of the blocks at 1/16
    fine: int = 128  # width of the blocks at 1/8
    coarse_blocks: int = 3
    fine_blocks: int = 3
    more_coarse: int = 0  # blocks that the analysis has beyond the synthesis', at 1/16 and 1/8
    more_fine: int = 0
    quarter: int = 0  # width of the blocks at 1/4; 0 for none
    quarter_blocks: int = 2
    hyper_wide: int = 192
    hyper_narrow: int = 128
    context: int = 0  # low channels that are coded first, see codec.exact.context; 0 for none
    context_inner: int = 192
    levels: int = 8  # rate points between which gains and modulations are interpolated
    generation: int = 1  # 1: codec.nets.network; 2: codec.nets.second, for which alone is what follows
    wide: int = 320  # width of the analysis' blocks at 1/16; it has coarse_blocks + more_coarse of them
    renderer: int = 32  # width of the renderer at 1/4
    pairs: int = 2  # residual pairs of the renderer


SECOND = Config(
    generation=2,
    latent=320,
    coarse_blocks=2,
    fine_blocks=2,
    more_coarse=2,
    hyper_wide=128,
    hyper_narrow=96,
    context=96,
    context_inner=96,
)
