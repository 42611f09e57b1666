"""What a metric is to an evaluation: which figure of it is compared, and how that is shown."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One metric.

    `name` is what it is asked for by, `key` the figure that is compared and drawn, `label` what tables and captions
    call it, `axis` what plots call it. Captions show `digits` digits after the point, and `unit`.
    """

    name: str
    key: str
    label: str
    axis: str
    digits: int
    unit: str = ""
    lower_is_better: bool = False

    def caption(self, value: float) -> str:
        """A figure as in "PSNR 31.42 dB"."""
        return f"{self.label} {value:.{self.digits}f} {self.unit}".rstrip()


ALL = (
    Metric("psnr", "psnr", "PSNR", "PSNR, dB", 2, "dB"),
    Metric("ms_ssim", "ms_ssim_db", "MS-SSIM", "MS-SSIM, dB", 2, "dB"),
    Metric("ssimulacra2", "ssimulacra2", "SSIMULACRA2", "SSIMULACRA2", 1),
    Metric("lpips", "lpips", "LPIPS", "LPIPS", 3, lower_is_better=True),
    Metric("butteraugli", "butteraugli", "Butteraugli", "Butteraugli, 3-norm", 2, lower_is_better=True),
    Metric("flip", "flip", "FLIP", "FLIP", 3, lower_is_better=True),
)
