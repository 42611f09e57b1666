import pytest
import torch
from torch.nn import functional as F

from lapic.codec.nets.network import quarter_cells


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_cells_of_four_are_those_of_the_picture(dtype: torch.dtype, order: torch.memory_format) -> None:
    eighths = torch.randn(2, 192, 5, 7).to(dtype).contiguous(memory_format=order)
    expected = F.pixel_unshuffle(F.pixel_shuffle(eighths, 8), 4)
    with torch.no_grad():
        found = quarter_cells(eighths)
    assert torch.equal(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(quarter_cells(eighths.requires_grad_()), expected)
